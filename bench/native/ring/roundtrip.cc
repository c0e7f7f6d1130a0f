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
  auto once = [=] {
    const uint32_t seen = lines->back.value.load(std::memory_order_relaxed);
    ring(lines->there.value);
    await(lines->back.value, seen, blocking);
  };
  return serve({[=](uint32_t count) {
                  // Half of them timed one by one, for the percentiles; half without a clock in between, for the mean.
                  const uint32_t timed = (count + 1) / 2;
                  std::vector<double> times(timed);
                  double at = nowNs();
                  for (uint32_t i = 0; i < timed; i++) {
                    once();
                    const double now = nowNs();
                    times[i] = now - at;
                    at = now;
                  }
                  for (uint32_t i = timed; i < count; i++) once();
                  const double mean = (nowNs() - at) / std::max(1u, count - timed);
                  std::sort(times.begin(), times.end());
                  Measure measure{times[timed / 2], ""};
                  addMetric(measure, "p99", times[std::min(timed - 1, timed * 99 / 100)]);
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
