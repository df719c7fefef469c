#include "amp.h"

#include <algorithm>
#include <cmath>

#include "neurig.h"

namespace neurig {
namespace {

constexpr float kLow[] = {-60, -60, 0, 0, 0, -60}, kHigh[] = {60, 60, 1, 1000, 2, 60}, kPreset[] = {0, 0, 0, 20, 0, 12};
constexpr double kLoudness = -18;  // dB, of a normalised model
float from_decibels(double dB) { return float(std::pow(10., dB / 20)); }

int level_of(const Instance *instance, int asked) {
  if (!instance) return NEURIG_LEVEL_RAW;
  const Levels &levels = instance->levels();
  if (asked == NEURIG_LEVEL_CALIBRATED && !std::isnan(levels.input_dbu)) return NEURIG_LEVEL_CALIBRATED;
  return asked != NEURIG_LEVEL_RAW && !std::isnan(levels.loudness) ? NEURIG_LEVEL_NORMALISED : NEURIG_LEVEL_RAW;
}

void multiply(const float *x, const float *gains, float *out, int n) {
#pragma GCC ivdep
  for (int i = 0; i < n; i++) out[i] = x[i] * gains[i];
}

}  // namespace

Amp::Amp(double rate, int channels) : rate_(rate), channels_(channels), gain_{1, 1}, out_{1, 1}, bypass_{0, 0} {
  if (channels < 1 || channels > kMaxInstanceChannels) throw Error("the number of channels is out of range");
  std::copy_n(kPreset, 6, params_);
  for (auto *rows : {&driven_, &wet_, &leaving_}) rows->resize(size_t(channels) * kBlock);
}

Amp::~Amp() {
  delete current_.instance;
  delete old_.instance;
  delete done_;
  delete next_;
}

Instance *Amp::swap(Instance *fresh) {
  if (fresh && fresh->channels() != channels_) return fresh;
  if (!started_) {  // nothing has been heard yet: nothing to fade from
    Instance *unheard = current_.instance;
    current_.instance = fresh;
    set_level(current_, true);
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
  current_.instance = next_;
  set_level(current_, true);
  next_ = nullptr;
  waiting_ = false;
  listen_ = current_.instance ? current_.instance->delay() : 0;
  fade_length_ = fade_ = std::max(1, int(params_[NEURIG_AMP_XFADE] * 0.001 * rate_));
  onset_ = fade_length_ / 20;
  const float gain = current_.in.now;
  current_.in.now = onset_ ? 0 : gain;
  current_.in.to(gain, onset_);
}

Instance *Amp::collect() {
  Instance *gone = done_;
  done_ = nullptr;
  return gone;
}

int Amp::level() const { return level_of(instance(), int(params_[NEURIG_AMP_LEVEL])); }

// The gains by which a model plays at the level asked for.
void Amp::set_level(Voice &voice, bool at_once) {
  const int level = level_of(voice.instance, int(params_[NEURIG_AMP_LEVEL]));
  const int samples = at_once ? 0 : std::max(1, int(0.02 * rate_));
  double in = 0, out = 0;
  if (level != NEURIG_LEVEL_RAW) {
    const Levels &levels = voice.instance->levels();
    const double dbu = params_[NEURIG_AMP_DBU];
    if (!std::isnan(levels.loudness)) out = kLoudness - levels.loudness;
    if (level == NEURIG_LEVEL_CALIBRATED) {
      in = dbu - levels.input_dbu;
      if (!std::isnan(levels.output_dbu)) out = levels.output_dbu - dbu;
    }
  }
  voice.in.to(from_decibels(in), samples);
  voice.out.to(from_decibels(out), samples);
}

void Amp::set(int param, float value) {
  if (param < 0 || param > NEURIG_AMP_DBU || !std::isfinite(value)) return;
  value = std::min(std::max(value, kLow[param]), kHigh[param]);
  if (param == NEURIG_AMP_BYPASS) value = value > 0.5f ? 1.f : 0.f;
  if (param == NEURIG_AMP_LEVEL) value = std::floor(value);
  if (value == params_[param]) return;  // hosts may say so at every block; a glide under way goes on
  params_[param] = value;
  const int samples = started_ ? std::max(1, int(0.02 * rate_)) : 0;
  switch (param) {
    case NEURIG_AMP_GAIN: gain_.to(from_decibels(value), samples); break;
    case NEURIG_AMP_OUT: out_.to(from_decibels(value), samples); break;
    case NEURIG_AMP_BYPASS: bypass_.to(value, samples); break;
    case NEURIG_AMP_LEVEL:
    case NEURIG_AMP_DBU: set_level(current_, !started_); break;
    default: break;
  }
}

void Amp::process(const float *in, float *out, int n) {
  started_ = true;
  const FlushToZero flush;
  const float *x[kMaxInstanceChannels];
  float *y[kMaxInstanceChannels];
  for (int done = 0; done < n; done += kBlock) {
    for (int k = 0; k < channels_; k++) x[k] = in + ptrdiff_t(k) * n + done, y[k] = out + ptrdiff_t(k) * n + done;
    chunk(x, y, std::min(n - done, kBlock));
  }
}

// Without an instance there is silence.
void Amp::run(Voice &voice, const float *in, float *out, int n) {
  const int size = channels_ * n;
  if (!voice.instance) {
    std::fill_n(out, size, 0.f);
    return;
  }
  float gains[kBlock];
  voice.in.fill(gains, n);
  for (int at = 0; at < size; at += n) multiply(in + at, gains, out + at, n);
  voice.instance->process(out, out, n);
  voice.out.fill(gains, n);
  for (int at = 0; at < size; at += n) multiply(out + at, gains, out + at, n);
}

void Amp::chunk(const float *const *in, float *const *out, int n) {
  const int size = channels_ * n;
  float *const driven = driven_.data(), *const wet = wet_.data(), *const leaving = leaving_.data();
  float gains[kBlock], bypass[kBlock];
  gain_.fill(gains, n);
  for (int k = 0; k < channels_; k++) multiply(in[k], gains, driven + k * n, n);
  if (!fade_) start_next();
  run(current_, driven, wet, n);
  if (fade_) {
    run(old_, driven, leaving, n);
    for (int i = 0; i < n && fade_; i++) {
      // A raised cosine: both models hear the same input, so their outputs are alike and amplitudes must add up to one.
      const float t = std::min(1.f, float(fade_) / float(fade_length_ - onset_)), share = t * t * (3 - 2 * t);
      for (int at = i; at < size; at += n) wet[at] += share * (leaving[at] - wet[at]);
      listen_ ? listen_-- : fade_--;
    }
    if (!fade_) {
      done_ = old_.instance;
      old_.instance = nullptr;
    }
  }
  out_.fill(gains, n);
  bypass_.fill(bypass, n);
  for (int k = 0; k < channels_; k++)
#pragma GCC ivdep
    for (int i = 0; i < n; i++) {
      const float dry = in[k][i], y = wet[k * n + i] * gains[i];
      out[k][i] = bypass[i] == 1 ? dry : y + bypass[i] * (dry - y);
    }
}

void Amp::reset() {
  if (current_.instance) current_.instance->reset();
}

}  // namespace neurig
