// Requests and responses over a ring laid out as Xen's io/ring.h has it: shared slots of 112 bytes, 28 words written and
// summed per request, a 16-byte response, batches of 32, notify suppression by event indices when the peers sleep.
#include "ring.h"

namespace {

constexpr uint32_t kSlots = 256, kSlotBytes = 112, kBatch = 32;

struct alignas(4096) SharedRing {
  std::atomic<uint32_t> reqProd{0}, reqEvent{1}, rspProd{0}, rspEvent{1};
  char pad[48];
  char slots[kSlots * kSlotBytes];
};

struct Pair {
  SharedRing ring;
  Word frontBell, backBell;  // doorbells: what an event channel is
  uint32_t depth;
  bool blocking;
  uint32_t reqProdPvt = 0, rspCons = 0;               // front
  uint32_t rspProdPvt = 0, reqCons = 0;               // back
  uint64_t frontNotifies = 0, backNotifies = 0;
  uint32_t sent = 0, received = 0;

  char* slot(uint32_t index) { return ring.slots + (index & (kSlots - 1)) * kSlotBytes; }

  static bool push(std::atomic<uint32_t>& prod, std::atomic<uint32_t>& event, uint32_t next, bool blocking) {
    const uint32_t old = prod.load(std::memory_order_relaxed);
    if (!blocking) {
      prod.store(next, std::memory_order_release);
      return false;
    }
    prod.store(next, std::memory_order_seq_cst);
    return uint32_t(next - event.load(std::memory_order_seq_cst)) < uint32_t(next - old);
  }

  static void knock(Word& bell) {
    bell.value.fetch_add(1, std::memory_order_seq_cst);
    futexWake(bell.value);
  }

  /// Wait until `prod` leaves `cons`: sample the doorbell, ask for an event, check again, sleep.
  void await(std::atomic<uint32_t>& prod, std::atomic<uint32_t>& event, uint32_t cons, Word& bell) {
    while (prod.load(std::memory_order_acquire) == cons) {
      if (!blocking) {
        cpuRelax();
        continue;
      }
      const uint32_t seen = bell.value.load(std::memory_order_seq_cst);
      event.store(cons + 1, std::memory_order_seq_cst);
      if (prod.load(std::memory_order_seq_cst) != cons) return;
      futexWait(bell.value, seen);
    }
  }

  void pushRequests() {
    if (push(ring.reqProd, ring.reqEvent, reqProdPvt, blocking)) {
      frontNotifies++;
      knock(backBell);
    }
  }

  void pushResponses() {
    if (push(ring.rspProd, ring.rspEvent, rspProdPvt, blocking)) {
      backNotifies++;
      knock(frontBell);
    }
  }

  void front(uint32_t count) {
    uint32_t staged = 0, answered = 0, sum = 0;
    while (answered < count) {
      const uint32_t before = reqProdPvt;
      uint32_t unpushed = 0;
      while (staged < count && reqProdPvt - rspCons < depth) {
        auto* words = reinterpret_cast<uint32_t*>(slot(reqProdPvt));
        for (uint32_t w = 0; w < kSlotBytes / 4; w++) words[w] = staged + w;
        reqProdPvt++;
        staged++;
        if (++unpushed == kBatch) {
          pushRequests();
          unpushed = 0;
        }
      }
      if (unpushed > 0) pushRequests();
      if (reqProdPvt == before || reqProdPvt - rspCons == depth || staged == count) {
        await(ring.rspProd, ring.rspEvent, rspCons, frontBell);
      }
      const uint32_t end = ring.rspProd.load(std::memory_order_acquire);
      for (; rspCons != end; rspCons++, answered++) {
        uint32_t response[4];
        memcpy(response, slot(rspCons), sizeof response);
        sum += response[0] + response[1];
      }
    }
    received = sum;
  }

  void back(uint32_t count) {
    uint32_t served = 0;
    uint32_t copy[kSlotBytes / 4];
    while (served < count) {
      await(ring.reqProd, ring.reqEvent, reqCons, backBell);
      const uint32_t end = ring.reqProd.load(std::memory_order_acquire);
      uint32_t unpushed = 0;
      for (; reqCons != end; served++) {
        // Copy once and add up what was copied, in one pass: reading back a copy just made stalls on its stores.
        const auto* words = reinterpret_cast<const uint32_t*>(slot(reqCons));
        uint32_t sum = 0;
        for (uint32_t w = 0; w < kSlotBytes / 4; w++) {
          const uint32_t word = words[w];
          copy[w] = word;
          sum += word;
        }
        asm volatile("" : : "r"(copy) : "memory");  // the copy is wanted
        reqCons++;
        const uint32_t response[4] = {copy[0], sum, 0, 0};
        memcpy(slot(rspProdPvt), response, sizeof response);
        rspProdPvt++;
        if (++unpushed == kBatch) {
          pushResponses();
          unpushed = 0;
        }
      }
      if (unpushed > 0) pushResponses();
    }
  }
};

}  // namespace

int pipelined(uint32_t depth, bool blocking) {
  auto* pair = new Pair;
  pair->depth = depth;
  pair->blocking = blocking;
  return serve({[pair](uint32_t count) {
                  pair->frontNotifies = pair->backNotifies = 0;
                  const double from = nowNs();
                  pair->front(count);
                  Measure measure{(nowNs() - from) / count, ""};
                  uint32_t expected = 0;
                  for (uint32_t i = 0; i < count; i++) expected += i + 28 * i + 28 * 27 / 2;
                  if (expected != pair->received) abort();
                  addMetric(measure, "notifications", double(pair->frontNotifies + pair->backNotifies) / count);
                  return measure;
                },
                [pair](uint32_t count) { pair->back(count); }});
}
