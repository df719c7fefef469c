// For benchmarks: the clock around any engine, and what the CPU could do at best.
#include <time.h>

#include <algorithm>

#include "instance.h"
#include "neurig.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

namespace {

double seconds_of(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// Multiply-adds on twelve vectors of `LANES` floats, independent of each other: latency is hidden, memory untouched.
constexpr int kVectors = 12;
#define RUN(NAME, LANES, TARGET)                                                  \
  TARGET float NAME(int64_t steps) {                                              \
    typedef float V __attribute__((vector_size(LANES * 4)));                      \
    V sum[kVectors], factor = (V){} + 0.5f, term = (V){} + 1.f;                   \
    for (int i = 0; i < kVectors; i++) sum[i] = (V){} + float(i);                 \
    for (; steps > 0; steps--) {                                                  \
      _Pragma("GCC unroll 12") for (V &s : sum) s = s * factor + term;            \
    }                                                                             \
    float total = 0;                                                              \
    for (const V &s : sum) total += s[0];                                         \
    return total;                                                                 \
  }
RUN(run_baseline, 4, )
#if defined(__x86_64__)
RUN(run_avx2, 8, __attribute__((target("avx2,fma"))))
RUN(run_avx512, 16, __attribute__((target("avx512f"))))
#endif

}  // namespace

extern "C" {

void neurig_measure(neurig_process process, void *const *handles, int count, int channels, const float *in, float *out,
                    int64_t frames, int block, double *seconds, float *block_seconds) {
  const neurig::FlushToZero flush;  // as hosts do
  const double cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID), start = seconds_of(CLOCK_MONOTONIC);
  double before = start;
  for (int64_t i = 0; i + block <= frames; i += block) {
    for (int k = 0; k < count; k++) process(handles[k], in + i * channels, out + i * channels, block);
    if (!block_seconds) continue;
    const double now = seconds_of(CLOCK_MONOTONIC);
    *block_seconds++ = float(now - before);
    before = now;
  }
  seconds[1] = seconds_of(CLOCK_MONOTONIC) - start;
  seconds[0] = seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
}

double neurig_peak(void) {
  auto run = run_baseline;
  int lanes = 4;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) run = run_avx2, lanes = 8;
  if (__builtin_cpu_supports("avx512f")) run = run_avx512, lanes = 16;
#endif
  constexpr int64_t kSteps = 10000;
  double best = 0;
  for (int i = 0; i < 20; i++) {  // of short runs one stays undisturbed
    const double start = seconds_of(CLOCK_MONOTONIC);  // the other clock may be off by more than so short a run
    run(kSteps);
    const double took = seconds_of(CLOCK_MONOTONIC) - start;
    best = std::max(best, double(kSteps) * kVectors * lanes / took);
  }
  return best;
}

}  // extern "C"
