// Round trip of one word, each way on a line of its own: the floor under every request that waits for its answer.
#include <algorithm>
#include <vector>

#include "ring.h"

namespace {

struct Lines {
  Word there, back;
};

void await(std::atomic<uint32_t>& word, uint32_t seen, bool blocking) {
  while (word.load(std::memory_order_acquire) == seen) {
    if (blocking) {
      futexWait(word, seen);
    } else {
      cpuRelax();
    }
  }
}

}  // namespace

int roundTrip(bool blocking) {
  auto* lines = new Lines;
  auto ring = [blocking](std::atomic<uint32_t>& word) {
    word.store(word.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
    if (blocking) futexWake(word);
  };
  return serve({[=](uint32_t count) {
                  std::vector<double> times(count);
                  const double from = nowNs();
                  double at = from;
                  for (uint32_t i = 0; i < count; i++) {
                    const uint32_t seen = lines->back.value.load(std::memory_order_relaxed);
                    ring(lines->there.value);
                    await(lines->back.value, seen, blocking);
                    const double now = nowNs();
                    times[i] = now - at;
                    at = now;
                  }
                  const double mean = (at - from) / count;
                  std::sort(times.begin(), times.end());
                  Measure measure{times[count / 2], ""};
                  addMetric(measure, "p99", times[std::min(count - 1, count * 99 / 100)]);
                  addMetric(measure, "mean", mean);
                  return measure;
                },
                [=](uint32_t count) {
                  static uint32_t seen = 0;
                  for (uint32_t i = 0; i < count; i++) {
                    await(lines->there.value, seen, blocking);
                    seen++;
                    ring(lines->back.value);
                  }
                }});
}
