// An instance that computes on a thread of its own, and is heard a fixed time later: for models that may not run on the
// audio thread, because they allocate, lock or wait.
#pragma once
#include <semaphore.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace neurig {

// Two rings between the audio thread and the worker. A sample has the same number in both; what the worker has made of
// sample k is heard when the audio thread brings sample k + delay. What is not ready by then is silence, and so is a
// whole block where the worker is so far behind that there is no room; neither shifts what follows.
class Deferred {
 public:
  using Work = std::function<void(const float *in, float *out, int n)>;  // n ≤ kBlock
  // `reset`: brings the work back to its beginning
  Deferred(int delay, Work work, std::function<void()> reset);
  ~Deferred();  // waits until the work at hand is done
  int delay() const { return delay_; }
  void process(const float *in, float *out, int n);  // [real time]
  void reset();                                      // [real time] what was given before is not heard any more
  int64_t late() const { return late_.load(std::memory_order_relaxed); }

 private:
  void run();

  const int delay_;
  const uint64_t mask_;
  std::vector<float> in_, out_;
  Work work_;
  std::function<void()> reset_;
  uint64_t first_ = 0;                       // the first sample since the last reset; the audio thread's
  std::atomic<uint64_t> given_{0}, done_{0};  // samples so far
  std::atomic<uint64_t> fresh_{0};            // where the work begins anew: the number of a sample
  std::atomic<int64_t> late_{0};              // samples that were not ready
  std::atomic<bool> ends_{false};
  sem_t more_;
  std::thread thread_;
};

}  // namespace neurig
