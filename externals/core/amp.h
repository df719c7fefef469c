// An instance in a host's signal path: gains, bypass, and a crossfade whenever the instance is replaced.
#pragma once
#include <algorithm>

#include "instance.h"

namespace neurig {

class Amp {
 public:
  explicit Amp(double rate, int channels = 1);
  ~Amp();
  Amp(const Amp &) = delete;
  // All [real time]; see neurig.h.
  Instance *swap(Instance *fresh);
  Instance *collect();
  Instance *instance() const { return waiting_ ? next_ : current_.instance; }
  void set(int param, float value);
  float get(int param) const { return params_[param]; }
  int level() const;
  void process(const float *in, float *out, int n);
  void reset();

 private:
  // A value on its way, in a straight line over 20 ms, to where it was sent.
  struct Glide {
    float now, target, step = 0;
    void to(float value, int samples) {
      target = value;
      if (samples) step = (target - now) / float(samples);
      else now = target;
    }
    // Its next values.
    void fill(float *values, int n) {
      for (int i = 0; i < n; i++) {
        if (now == target) return std::fill_n(values + i, n - i, now), void();
        values[i] = now = step == 0 || (step > 0) == (now + step >= target) ? target : now + step;
      }
    }
  };
  // An instance with the gains that its level takes.
  struct Voice {
    Instance *instance = nullptr;
    Glide in{1, 1}, out{1, 1};
  };
  void chunk(const float *const *in, float *const *out, int n);
  void start_next();
  void set_level(Voice &voice, bool at_once);
  void run(Voice &voice, const float *in, float *out, int n);

  double rate_;
  int channels_;
  std::vector<float> driven_, wet_, leaving_;  // [channels][kBlock]
  float params_[6];
  Glide gain_, out_, bypass_;
  bool started_ = false;
  Voice current_, old_;
  Instance *done_ = nullptr, *next_ = nullptr;
  bool waiting_ = false;  // `next_` (perhaps NULL) comes in when the crossfade under way has ended
  int listen_ = 0;                  // samples left until a deferred instance is heard, and the crossfade begins
  int fade_ = 0, fade_length_ = 1;  // samples left, of how many
  // Samples of the fade in which the new instance's input comes in, unheard: a signal that seems to begin in the middle
  // of a note would come back as a click from all that remembers its beginning.
  int onset_ = 0;
};

}  // namespace neurig
