#include "amp.h"

#include <algorithm>
#include <cmath>

#include "neurig.h"

namespace neurig {
namespace {

constexpr float kLow[] = {-60, -60, 0, 0}, kHigh[] = {60, 60, 1, 1000}, kPreset[] = {0, 0, 0, 20};
float from_decibels(float dB) { return std::pow(10.f, dB / 20.f); }

}  // namespace

Amp::Amp(double rate) : rate_(rate), gain_{1, 1}, out_{1, 1}, bypass_{0, 0} {
  std::copy_n(kPreset, 4, params_);
}

Amp::~Amp() {
  delete current_;
  delete old_;
  delete done_;
  delete next_;
}

Instance *Amp::swap(Instance *fresh) {
  if (!started_) {  // nothing has been heard yet: nothing to fade from
    Instance *unheard = current_;
    current_ = fresh;
    return unheard;
  }
  Instance *unheard = nullptr;
  if (waiting_) unheard = next_;
  next_ = fresh;
  waiting_ = true;
  if (!fade_) start_next();
  return unheard ? unheard : collect();
}

// Begins the crossfade to the waiting instance, unless the last replaced one is still to be collected.
void Amp::start_next() {
  if (!waiting_ || done_) return;
  old_ = current_;
  current_ = next_;
  next_ = nullptr;
  waiting_ = false;
  fade_length_ = fade_ = std::max(1, int(params_[NEURIG_AMP_XFADE] * 0.001 * rate_));
}

Instance *Amp::collect() {
  Instance *gone = done_;
  done_ = nullptr;
  return gone;
}

void Amp::set(int param, float value) {
  if (param < 0 || param > NEURIG_AMP_XFADE || !std::isfinite(value)) return;
  value = std::min(std::max(value, kLow[param]), kHigh[param]);
  if (param == NEURIG_AMP_BYPASS) value = value > 0.5f ? 1.f : 0.f;
  if (value == params_[param]) return;  // hosts may say so at every block; a glide under way goes on
  params_[param] = value;
  const int samples = started_ ? std::max(1, int(0.02 * rate_)) : 0;
  if (param == NEURIG_AMP_GAIN) gain_.to(from_decibels(value), samples);
  if (param == NEURIG_AMP_OUT) out_.to(from_decibels(value), samples);
  if (param == NEURIG_AMP_BYPASS) bypass_.to(value, samples);
}

void Amp::process(const float *in, float *out, int n) {
  started_ = true;
  const FlushToZero flush;
  while (n > 0) {
    const int count = std::min(n, kBlock);
    chunk(in, out, count);
    in += count, out += count, n -= count;
  }
}

void Amp::chunk(const float *in, float *out, int n) {
  float dry[kBlock], driven[kBlock], wet[kBlock], leaving[kBlock];
  std::copy_n(in, n, dry);
  for (int i = 0; i < n; i++) driven[i] = dry[i] * gain_.next();

  if (!fade_) start_next();
  if (current_) current_->process(driven, wet, n);
  else std::fill_n(wet, n, 0.f);
  if (fade_) {
    if (old_) old_->process(driven, leaving, n);
    else std::fill_n(leaving, n, 0.f);
    for (int i = 0; i < n && fade_; i++, fade_--) {
      // A raised cosine: both models hear the same input, so their outputs are alike and amplitudes must add up to one.
      const float t = float(fade_) / float(fade_length_), share = t * t * (3 - 2 * t);
      wet[i] += share * (leaving[i] - wet[i]);
    }
    if (!fade_) {
      done_ = old_;
      old_ = nullptr;
    }
  }
  for (int i = 0; i < n; i++) {
    const float y = wet[i] * out_.next(), b = bypass_.next();
    out[i] = b == 1 ? dry[i] : y + b * (dry[i] - y);
  }
}

void Amp::reset() {
  if (current_) current_->reset();
}

}  // namespace neurig
