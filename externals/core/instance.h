// One channel through one model at the host's sample rate.
#pragma once
#include <speex/speex_resampler.h>

#include "deferred.h"
#include "model.h"

namespace neurig {

// Flush-to-zero while in scope: decaying filters and LSTM cells would otherwise slow down a hundredfold in silence.
class FlushToZero {
 public:
  FlushToZero();
  ~FlushToZero();

 private:
  uint64_t before_;
};

struct DestroyResampler {
  void operator()(SpeexResamplerState *r) const { speex_resampler_destroy(r); }
};
using Resampler = std::unique_ptr<SpeexResamplerState, DestroyResampler>;

// Host rate → model rate → host rate around a model, by a windowed sinc (speexdsp's resampler). Both converters start
// with half their filter filled, so that the whole way is aligned in time; what comes out late is kept in a queue that is
// never empty, whose length is the latency.
class RateConverter {
 public:
  RateConverter(double host, double model, int quality, int channels);  // to be reset before it is used
  int latency() const { return latency_; }
  void reset(float silence);  // [real time] `silence`: what the model gives for silence
  // [real time] `run(x, n)` processes n ≤ kBlock samples of each channel, in place, at the model's rate
  template <class Run> void process(const float *const *in, float *const *out, int n, Run run);

 private:
  Resampler up_, down_;
  int latency_ = 0;
  int channels_;
  std::vector<float> rows_;                // kBlock samples of each channel, at the model's rate
  std::vector<std::vector<float>> queue_;  // per channel a ring of finished samples
  size_t read_ = 0, write_ = 0;
  template <class Run> void push(const float *const *in, int n, Run run);
};

constexpr int kMaxInstanceChannels = 64;

class Instance {
 public:
  Instance(std::shared_ptr<const Model> model, double rate, int quality, int channels = 1, bool exact = false);
  // Computes `delay` samples later, on a thread of its own.
  void defer(int delay);
  virtual ~Instance() = default;
  // All [real time]; see neurig.h.
  void process(const float *in, float *out, int n);
  void reset();
  int delay() const { return deferred_ ? deferred_->delay() : 0; }
  int latency() const { return (converter_ ? converter_->latency() : 0) + delay(); }
  int64_t late() const { return deferred_ ? deferred_->late() : 0; }
  void set_waiting(bool on) {  // not [real time]
    if (deferred_) deferred_->set_waiting(on);
  }
  double cpu() const { return deferred_ ? deferred_->cpu() : 0; }
  void set_param(int index, float value);
  float param(int index) const;
  void set_slim(float size);
  float slim() const { return deferred_ ? deferred_->setting(knobs_.size()) : slim_; }
  const Levels &levels() const { return levels_; }
  int channels() const { return channels_; }

 private:
  using Channels = float *const *;  // a row for each channel
  // The model, or its version for this rate, in each of its sizes, slimmest first.
  struct Size {
    double below;
    std::shared_ptr<const AmpModel> model;
    State silent;
    std::vector<State> states;  // of each channel
    float silence;              // what it gives for silence
    int listens;  // samples that it hears before it is heard: as many as it remembers, within limits
  };
  std::vector<Size> sizes_;
  Levels levels_;
  int channels_;
  bool exact_;
  std::vector<float> coming_rows_;  // kBlock samples of each channel
  size_t current_ = 0, coming_ = 0;  // what is heard, and what is about to take its place
  float slim_ = 1;
  bool started_ = false;
  // At the model's rate: samples left to listen; done of the crossfade, and of how many.
  int listen_ = 0, fade_ = 0, fade_length_ = 1;
  std::vector<float> knobs_;
  std::unique_ptr<RateConverter> converter_;
  size_t size_for(float slim) const;
  void add_size(double below, std::shared_ptr<const AmpModel> model, double host_rate);
  void compute(const float *in, float *out, int n);
  void begin();
  void apply(size_t setting, float value);  // a knob, or after the last of them the size
  void run(const float *const *in, Channels out, int n);
  void run_size(Size &size, const float *const *in, Channels out, int n);
  void restart(Size &size);
  std::unique_ptr<Deferred> deferred_;  // last: its thread ends before all else goes
};

}  // namespace neurig
