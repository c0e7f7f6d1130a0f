// One-way messages: a single-producer single-consumer queue of fixed slots, as fast as one writes it by hand.
//
// Cached peer index, indices on lines of their own, publication per batch. The producer copies a prepared message in,
// the consumer copies it out and adds two words of its copy: the same work that every JavaScript subject does.
#include "ring.h"

namespace {

template <uint32_t Size>
struct Queue {
  Word head, tail;
  uint32_t mask, batch;
  char* slots;
  char* messages;
  uint32_t messageMask;
  uint32_t headOwn = 0, tailSeen = 0;  // producer
  uint32_t tailOwn = 0, headSeen = 0;  // consumer
  std::atomic<uint32_t> finished{0};
  uint32_t sent = 0, received = 0;

  Queue(uint32_t slotCount, uint32_t batchSize) : mask(slotCount - 1), batch(batchSize) {
    slots = static_cast<char*>(aligned_alloc(4096, (size_t(slotCount) * Size + 4095) & ~size_t(4095)));
    const uint32_t count = Size <= 112 ? 64 : Size <= 1024 ? 16 : 4;
    messageMask = count - 1;
    messages = static_cast<char*>(aligned_alloc(4096, (size_t(count) * Size + 4095) & ~size_t(4095)));
    memset(slots, 0, size_t(slotCount) * Size);
    for (size_t i = 0; i < size_t(count) * Size; i++) messages[i] = static_cast<char>(i * 31 + (i >> 8));
  }

  static uint32_t checksum(const char* message) {
    uint32_t first, last;
    memcpy(&first, message, 4);
    memcpy(&last, message + Size - 4, 4);
    return first + last;
  }

  void produce(uint32_t count) {
    uint32_t staged = headOwn, published = headOwn, sum = 0;
    for (uint32_t i = 0; i < count; i++) {
      if (staged - tailSeen > mask) {
        head.value.store(staged, std::memory_order_release);
        published = staged;
        while (staged - (tailSeen = tail.value.load(std::memory_order_acquire)) > mask) cpuRelax();
      }
      const char* message = messages + size_t(i & messageMask) * Size;
      memcpy(slots + size_t(staged & mask) * Size, message, Size);
      sum += checksum(message);
      staged++;
      if (staged - published >= batch) {
        head.value.store(staged, std::memory_order_release);
        published = staged;
      }
    }
    head.value.store(staged, std::memory_order_release);
    headOwn = staged;
    sent = sum;
  }

  void consume(uint32_t count) {
    alignas(64) char copy[Size];
    uint32_t taken = tailOwn, sum = 0;
    const uint32_t end = taken + count;
    while (taken != end) {
      while (taken == (headSeen = head.value.load(std::memory_order_acquire))) cpuRelax();
      while (taken != headSeen) {
        const uint32_t stop = headSeen - taken < batch ? headSeen : taken + batch;
        for (; taken != stop; taken++) {
          memcpy(copy, slots + size_t(taken & mask) * Size, Size);
          asm volatile("" : : "r"(copy) : "memory");  // the copy is wanted, not only two words of it
          sum += checksum(copy);
        }
        tail.value.store(taken, std::memory_order_release);
      }
    }
    tailOwn = taken;
    received = sum;
    finished.store(1, std::memory_order_release);
  }
};

template <uint32_t Size>
int run(uint32_t slots, uint32_t batch) {
  auto* queue = new Queue<Size>(slots, batch);
  return serve({[queue](uint32_t count) {
                  queue->finished.store(0, std::memory_order_relaxed);
                  const double from = nowNs();
                  queue->produce(count);
                  while (queue->finished.load(std::memory_order_acquire) == 0) cpuRelax();
                  Measure measure{(nowNs() - from) / count, ""};
                  if (queue->sent != queue->received) abort();
                  return measure;
                },
                [queue](uint32_t count) { queue->consume(count); }});
}

}  // namespace

int oneway(uint32_t size, uint32_t slots, uint32_t batch) {
  switch (size) {
    case 8: return run<8>(slots, batch);
    case 64: return run<64>(slots, batch);
    case 112: return run<112>(slots, batch);
    case 1024: return run<1024>(slots, batch);
    case 16384: return run<16384>(slots, batch);
    default: return 2;
  }
}
