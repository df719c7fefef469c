// An instance that computes on a thread of its own, and is heard a fixed time later: for models that may not run on the
// audio thread, because they allocate, lock or wait, and for hosts that use several cores.
#pragma once
#include <semaphore.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace neurig {

// Rings between the audio thread and the worker. A sample has the same number in all of them; what the worker has made
// of sample k is heard when the audio thread brings sample k + delay. What is not ready by then is silence, and so is a
// whole block where the worker is so far behind that there is no room; neither shifts what follows. Settings travel
// with the samples: they take effect at the one before which they were set, whenever the worker comes to it.
class Deferred {
 public:
  using Work = std::function<void(const float *in, float *out, int n)>;  // [channels][n], n ≤ kBlock
  using Turn = std::function<void(size_t setting, float value)>;
  // `settings`: what they are at first; `turn` brings one to another value, `reset` the work back to its beginning
  Deferred(int delay, int channels, std::vector<float> settings, Work work, Turn turn, std::function<void()> reset);
  ~Deferred();  // waits until the work at hand is done
  int delay() const { return delay_; }
  void process(const float *in, float *out, int n);  // [real time] unless it waits; [channels][n]
  void set(size_t setting, float value) { asked_[setting] = value; }  // [real time]
  float setting(size_t setting) const { return asked_[setting]; }     // [real time]
  void reset();                                      // [real time] what was given before is not heard any more
  void set_waiting(bool on) { waits_ = on; }         // for what is not ready, instead of giving silence
  int64_t late() const { return late_.load(std::memory_order_relaxed); }
  double cpu() const;  // seconds that the worker has used

 private:
  struct Note {  // a setting that changes before sample `at`
    uint64_t at;
    size_t setting;
    float value;
  };
  void tell(uint64_t at);
  void wait_for(uint64_t sample) const;
  void run();
  float *row(std::vector<float> &ring, int channel) { return &ring[size_t(channel) * (mask_ + 1)]; }

  const int delay_, channels_;
  const uint64_t mask_;
  std::vector<float> in_, out_;  // a ring for each channel
  std::vector<float> asked_, told_;  // settings, as the audio thread wants them, and as the worker knows of them
  std::vector<Note> notes_;          // a ring
  Work work_;
  Turn turn_;
  std::function<void()> reset_;
  bool waits_ = false;
  uint64_t first_ = 0;                       // the first sample since the last reset; the audio thread's
  std::atomic<uint64_t> given_{0}, done_{0};  // samples so far
  std::atomic<uint64_t> noted_{0}, heeded_{0};  // notes so far
  std::atomic<uint64_t> fresh_{0};            // where the work begins anew: the number of a sample
  std::atomic<int64_t> late_{0};              // samples that were not ready
  std::atomic<bool> ends_{false};
  sem_t more_;
  std::thread thread_;
};

}  // namespace neurig
