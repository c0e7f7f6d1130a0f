// The line protocol of a native subject: "trial N" on stdin, one JSON object with the measure on stdout.
//
// A subject is a pair of threads. The front thread is the process's own: it reads the commands, runs its half and takes
// the time. The back thread sleeps between trials, so that an idle subject leaves the cores to the one being measured.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
inline void cpuRelax() { _mm_pause(); }
#else
inline void cpuRelax() { asm volatile("" ::: "memory"); }
#endif

/// A word alone on its pair of cache lines: adjacent-line prefetch on x86, 128-byte lines elsewhere.
struct alignas(128) Word {
  std::atomic<uint32_t> value{0};
};

inline double nowNs(clockid_t clock = CLOCK_MONOTONIC) {
  timespec at;
  clock_gettime(clock, &at);
  return at.tv_sec * 1e9 + at.tv_nsec;
}

inline void futexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

inline void futexWake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

/// Keep the calling thread on its core (0: front, 1: back), as the driver asks in SPLITRING_BENCH_CPUS.
inline void pinThread(int half) {
  const char* cores = getenv("SPLITRING_BENCH_CPUS");
  if (cores == nullptr) return;
  if (half == 1) cores = strchr(cores, ',');
  if (cores == nullptr) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(atoi(cores + half), &set);
  sched_setaffinity(0, sizeof set, &set);
}

/// What one trial measured; `extra` holds further JSON members of "metrics", each with its leading comma.
struct Measure {
  double value = 0;
  std::string extra;
};

inline void addMetric(Measure& measure, const char* name, double value) {
  char text[96];
  snprintf(text, sizeof text, ",\"%s\":%.6g", name, value);
  measure.extra += text;
}

/// Both halves of a subject; `front` returns the measure of `operations` operations.
struct Subject {
  std::function<Measure(uint32_t operations)> front;
  std::function<void(uint32_t operations)> back;
};

/// Serve trials until stdin ends.
inline int serve(const Subject& subject) {
  static std::atomic<uint32_t> start{0}, ready{0}, done{0};
  static uint32_t operations = 0;
  static double backCpuNs = 0;
  std::thread back([&subject] {
    pinThread(1);
    for (uint32_t trial = 0;; trial++) {
      while (start.load(std::memory_order_acquire) == trial) futexWait(start, trial);
      if (operations == 0) return;
      const double cpuBefore = nowNs(CLOCK_THREAD_CPUTIME_ID);
      ready.store(trial + 1, std::memory_order_release);
      subject.back(operations);
      backCpuNs = nowNs(CLOCK_THREAD_CPUTIME_ID) - cpuBefore;
      done.store(trial + 1, std::memory_order_release);
    }
  });
  pinThread(0);
  char line[128];
  for (uint32_t trial = 1; fgets(line, sizeof line, stdin); trial++) {
    operations = static_cast<uint32_t>(strtoul(line + strcspn(line, " "), nullptr, 10));
    if (operations == 0) break;
    start.store(trial, std::memory_order_release);
    futexWake(start);
    while (ready.load(std::memory_order_acquire) != trial) cpuRelax();
    rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    const double cpuBefore = nowNs(CLOCK_THREAD_CPUTIME_ID);
    Measure measure = subject.front(operations);
    const double frontCpuNs = nowNs(CLOCK_THREAD_CPUTIME_ID) - cpuBefore;
    while (done.load(std::memory_order_acquire) != trial) cpuRelax();
    getrusage(RUSAGE_SELF, &after);
    addMetric(measure, "cpu-front", frontCpuNs / operations);
    addMetric(measure, "cpu-back", backCpuNs / operations);
    printf("{\"value\":%.6g,\"clean\":%s,\"metrics\":{%s}}\n", measure.value,
           after.ru_nivcsw == before.ru_nivcsw ? "true" : "false", measure.extra.c_str() + 1);
    fflush(stdout);
  }
  operations = 0;
  start.fetch_add(1);
  futexWake(start);
  back.join();
  return 0;
}
