#include "instance.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "convolver.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace neurig {

#if defined(__SSE2__)
FlushToZero::FlushToZero() : before_(_mm_getcsr()) { _mm_setcsr(unsigned(before_) | 0x8040); }
FlushToZero::~FlushToZero() { _mm_setcsr(unsigned(before_)); }
#elif defined(__aarch64__)
FlushToZero::FlushToZero() {
  asm volatile("mrs %0, fpcr" : "=r"(before_));
  asm volatile("msr fpcr, %0" : : "r"(before_ | (1u << 24)));
}
FlushToZero::~FlushToZero() { asm volatile("msr fpcr, %0" : : "r"(before_)); }
#else
FlushToZero::FlushToZero() : before_(0) {}
FlushToZero::~FlushToZero() {}
#endif

namespace {

// speexdsp's own scale, 0..10: filters of 48, 96 and 256 taps.
constexpr int kSpeexQuality[] = {3, 6, 10};
constexpr int64_t kMaxLatency = 1 << 16;

Resampler resampler(double from, double to, int quality, int channels = 1) {
  int error = 0;
  const auto rate = [](double hertz) { return spx_uint32_t(std::lround(hertz)); };
  Resampler made(speex_resampler_init(spx_uint32_t(channels), rate(from), rate(to), quality, &error));
  if (!made) throw Error("cannot convert from " + std::to_string(int(from)) + " to " + std::to_string(int(to)) + " Hz");
  speex_resampler_skip_zeros(made.get());
  return made;
}

float silent_output(const AmpModel &model, State state, const std::vector<float> &knobs) {
  float block[kBlock] = {};
  model.process(state, knobs.data(), block, block, kBlock);
  return block[kBlock - 1];
}

}  // namespace

RateConverter::RateConverter(double host, double model, int quality, int channels)
    : up_(resampler(host, model, kSpeexQuality[quality], channels)),
      down_(resampler(model, host, kSpeexQuality[quality], channels)), channels_(channels),
      rows_(size_t(channels) * kBlock), queue_(size_t(channels), std::vector<float>(4 * kBlock)) {
  // How far the output can lag behind: over one period of the two rates' ratio, fed sample by sample.
  const int64_t a = std::lround(host), b = std::lround(model), period = std::min<int64_t>(a / std::gcd(a, b), 1 << 15);
  const float zero = 0;
  const std::vector<const float *> zeros(size_t(channels), &zero);
  const auto nothing = [](float *const *, int) {};
  int64_t lag = 0;
  for (int64_t given = 1; given < period + 2 * lag + 4096; given++) {
    push(zeros.data(), 1, nothing);
    lag = std::max(lag, given - int64_t(write_));
    if (lag > kMaxLatency)
      throw Error("cannot convert from " + std::to_string(a) + " to " + std::to_string(b) + " Hz: too far apart");
  }
  latency_ = int(lag);
  size_t size = 1;
  while (size < size_t(latency_) + 4 * kBlock) size *= 2;
  for (auto &queue : queue_) queue.assign(size, 0.f);
}

// As after silence for ever: pushes some through, for longer than the filters remember.
void RateConverter::reset(float silence) {
  for (SpeexResamplerState *r : {up_.get(), down_.get()}) {
    speex_resampler_reset_mem(r);
    speex_resampler_skip_zeros(r);
  }
  write_ = 0;
  const float nothing[kBlock] = {};
  const float *rows[kMaxInstanceChannels];
  std::fill_n(rows, channels_, nothing);
  size_t pushed = 0;
  for (; pushed < size_t(3 * latency_); pushed += kBlock)
    push(rows, kBlock, [this, silence](float *const *x, int n) {
      for (int k = 0; k < channels_; k++) std::fill_n(x[k], n, silence);
    });
  read_ = pushed - size_t(latency_);
}

// Pushes n host samples through; whatever comes out is appended to the queue. The channels keep step.
template <class Run> void RateConverter::push(const float *const *in, int n, Run run) {
  const size_t mask = queue_[0].size() - 1;
  float *slow[kMaxInstanceChannels], fast[kBlock];
  for (int k = 0; k < channels_; k++) slow[k] = &rows_[size_t(k) * kBlock];
  for (int given = 0; given < n;) {
    spx_uint32_t used = 0, made = 0;
    for (int k = 0; k < channels_; k++) {
      used = spx_uint32_t(n - given), made = kBlock;
      speex_resampler_process_float(up_.get(), spx_uint32_t(k), in[k] + given, &used, slow[k], &made);
    }
    given += int(used);
    run(slow, int(made));
    for (spx_uint32_t at = 0; at < made;) {
      spx_uint32_t left = 0, got = 0;
      for (int k = 0; k < channels_; k++) {
        left = made - at, got = kBlock;
        speex_resampler_process_float(down_.get(), spx_uint32_t(k), slow[k] + at, &left, fast, &got);
        for (spx_uint32_t i = 0; i < got; i++) queue_[size_t(k)][(write_ + i) & mask] = fast[i];
      }
      at += left, write_ += got;
      if (!left && !got) break;
    }
    if (!used && !made) break;
  }
}

template <class Run> void RateConverter::process(const float *const *in, float *const *out, int n, Run run) {
  const size_t mask = queue_[0].size() - 1;
  push(in, n, run);
  for (int k = 0; k < channels_; k++)
    for (int i = 0; i < n; i++) out[k][i] = queue_[size_t(k)][(read_ + size_t(i)) & mask];
  read_ += size_t(n);
}

Instance::Instance(std::shared_ptr<const Model> model, double rate, int quality, int channels, bool exact)
    : channels_(channels), exact_(exact) {
  auto amp = std::dynamic_pointer_cast<const AmpModel>(model);
  if (!amp) throw Error("this model is a predictor, not an amp");
  if (!(rate >= 1000 && rate <= 1e6)) {
    char text[80];
    std::snprintf(text, sizeof text, "a sample rate of %g Hz is out of range (1000 to 1000000)", rate);
    throw Error(text);
  }
  if (quality < 0 || quality > 2) throw Error("the quality must be 0, 1 or 2");
  if (channels < 1 || channels > kMaxInstanceChannels)
    throw Error(std::to_string(channels) + " channels are out of range (1 to " +
                std::to_string(kMaxInstanceChannels) + ")");
  for (const Param &p : amp->params) knobs_.push_back(p.preset);
  levels_ = amp->levels;
  if (amp->rate > 0 && std::lround(rate) != std::lround(amp->rate)) {
    if (auto other = amp->at_rate(rate)) amp = other;
    else converter_ = std::make_unique<RateConverter>(rate, amp->rate, quality, channels);
  }
  for (const AmpModel::Size &size : amp->slimmer) add_size(size.below, size.model, rate);
  add_size(HUGE_VAL, amp, rate);
  fade_length_ = std::max(1, int(0.02 * (amp->rate > 0 ? amp->rate : rate)));
  coming_rows_.resize(size_t(channels) * kBlock);
  begin();
}

void Instance::defer(int delay) {
  std::vector<float> settings = knobs_;
  settings.push_back(slim_);
  deferred_ = std::make_unique<Deferred>(
      delay, channels_, std::move(settings), [this](const float *in, float *out, int n) { compute(in, out, n); },
      [this](size_t setting, float value) { apply(setting, value); }, [this] { begin(); });
}

void Instance::add_size(double below, std::shared_ptr<const AmpModel> model, double host_rate) {
  const double most = 0.2 * (model->rate > 0 ? model->rate : host_rate);
  const auto memory = model->info.find("receptive_field");
  const bool known = memory != model->info.end() && memory->is_number();
  const int listens = int(known ? std::min(memory->get<double>(), most) : most);
  State silent = exact_ ? model->silent_exactly() : model->silent;
  const float silence = silent_output(*model, silent, knobs_);
  std::vector<State> states(size_t(channels_), silent);
  sizes_.push_back({below, std::move(model), std::move(silent), std::move(states), silence, listens});
}

void Instance::process(const float *in, float *out, int n) {
  if (deferred_) deferred_->process(in, out, n);
  else compute(in, out, n);
}

void Instance::compute(const float *in, float *out, int n) {
  const FlushToZero flush;
  const float *x[kMaxInstanceChannels];
  float *y[kMaxInstanceChannels];
  for (int done = 0; done < n; done += kBlock) {
    for (int k = 0; k < channels_; k++) x[k] = in + ptrdiff_t(k) * n + done, y[k] = out + ptrdiff_t(k) * n + done;
    const int count = std::min(n - done, kBlock);
    if (converter_) converter_->process(x, y, count, [this](Channels rows, int made) { run(rows, rows, made); });
    else run(x, y, count);
  }
}

void Instance::run_size(Size &size, const float *const *in, Channels out, int n) {
  for (int first = 0; first < channels_; first += kTogether) {
    State *states[kTogether];
    const int count = std::min(channels_ - first, kTogether);
    for (int k = 0; k < count; k++) states[k] = &size.states[size_t(first + k)];
    size.model->together(states, count, knobs_.data(), in + first, out + first, n);
  }
}

// At the model's rate. A size that is to be heard listens in first: what it makes of a signal that seems to begin in
// the middle of a note would be heard as a click.
void Instance::run(const float *const *in, Channels out, int n) {
  started_ = true;
  if (!fade_ && size_for(slim_) != coming_) {
    coming_ = size_for(slim_);
    listen_ = sizes_[coming_].listens;
    if (coming_ != current_) restart(sizes_[coming_]);
  }
  if (coming_ == current_) return run_size(sizes_[current_], in, out, n);
  float *coming[kMaxInstanceChannels];
  for (int k = 0; k < channels_; k++) coming[k] = &coming_rows_[size_t(k) * kBlock];
  run_size(sizes_[coming_], in, coming, n);
  run_size(sizes_[current_], in, out, n);
  for (int i = std::min(n, listen_); i < n; i++) {
    fade_ = std::min(fade_ + 1, fade_length_);
    const float t = float(fade_length_ - fade_) / float(fade_length_), share = t * t * (3 - 2 * t);
    for (int k = 0; k < channels_; k++) out[k][i] = coming[k][i] + share * (out[k][i] - coming[k][i]);
  }
  listen_ -= std::min(n, listen_);
  if (fade_ == fade_length_) current_ = coming_, fade_ = 0;
}

void Instance::restart(Size &size) {
  for (State &state : size.states) state.copy(size.silent);
}

void Instance::reset() {
  if (deferred_) deferred_->reset();
  else begin();
}

void Instance::begin() {
  started_ = false;
  fade_ = 0;
  current_ = coming_ = size_for(slim_);
  restart(sizes_[current_]);
  if (converter_) converter_->reset(sizes_[current_].silence);
}

size_t Instance::size_for(float slim) const {
  size_t at = 0;
  while (double(slim) >= sizes_[at].below) at++;
  return at;
}

void Instance::set_slim(float size) {
  if (!std::isfinite(size)) return;
  size = std::min(std::max(size, 0.f), 1.f);
  if (deferred_) deferred_->set(knobs_.size(), size);
  else apply(knobs_.size(), size);
}

void Instance::set_param(int index, float value) {
  if (index < 0 || size_t(index) >= knobs_.size() || !std::isfinite(value)) return;
  const Param &p = sizes_.back().model->params[size_t(index)];
  value = std::min(std::max(value, p.low), p.high);
  if (deferred_) deferred_->set(size_t(index), value);
  else apply(size_t(index), value);
}

void Instance::apply(size_t setting, float value) {
  if (setting < knobs_.size()) {
    knobs_[setting] = value;
    return;
  }
  slim_ = value;
  if (!started_ && size_for(slim_) != current_) begin();  // nothing to fade from
}

float Instance::param(int index) const {
  if (index < 0 || size_t(index) >= knobs_.size()) return 0;
  return deferred_ ? deferred_->setting(size_t(index)) : knobs_[size_t(index)];
}

std::vector<float> resampled(const float *samples, int64_t frames, double from, double to) {
  const Resampler r = resampler(from, to, kSpeexQuality[2]);
  std::vector<float> out(size_t(std::ceil(double(frames) * to / from)) + 1, 0.f);
  std::vector<float> in(samples, samples + frames);
  in.resize(in.size() + size_t(speex_resampler_get_input_latency(r.get())) + 16, 0.f);  // to push the end out
  spx_uint32_t used = spx_uint32_t(in.size()), made = spx_uint32_t(out.size());
  speex_resampler_process_float(r.get(), 0, in.data(), &used, out.data(), &made);
  return out;
}

}  // namespace neurig
