// Filters: NAM's Linear, and impulse responses (cabinets).
#include <cmath>

#include "convolver.h"

namespace neurig {
namespace {

constexpr int64_t kMaxTaps = kMaxStateFloats / 8;
const std::string kTooLong = "the impulse response is longer than " + std::to_string(kMaxTaps) + " samples";

class Filter : public AmpModel {
 public:
  Filter(std::vector<float> taps, float bias, double model_rate) : taps_(std::move(taps)), convolver_(taps_, bias) {
    rate = model_rate;
    info["receptive_field"] = taps_.size();
    info["macs"] = taps_.size();
    cost = int64_t(taps_.size());
    prewarm(convolver_.zeros(), 0);  // of silence nothing is kept
  }
  void process(State &state, const float *, const float *in, float *out, int n) const override {
    convolver_.process(state, in, out, n);
  }

 protected:
  std::vector<float> taps_;

 private:
  Convolver convolver_;
};

// An impulse response is resampled itself, once, rather than the signal.
class ImpulseResponse : public Filter {
 public:
  using Filter::Filter;
  std::shared_ptr<const AmpModel> at_rate(double host) const override {
    if (double(taps_.size()) * host > double(kMaxTaps) * rate) throw Error(kTooLong);
    std::vector<float> taps = resampled(taps_.data(), int64_t(taps_.size()), rate, host);
    for (float &tap : taps) tap *= float(rate / host);
    return std::make_shared<ImpulseResponse>(std::move(taps), 0.f, host);
  }
};

}  // namespace

std::shared_ptr<AmpModel> read_linear(const Json &file) {
  const Json &config = field(file, "config", "the file");
  const int64_t length = integer(config, "receptive_field", "config", 1, kMaxTaps);
  const bool has_bias = boolean(config, "bias", "config", false);
  Weights weights(file);
  weights.expect(length + has_bias);
  std::vector<float> taps(static_cast<size_t>(length));
  for (float &tap : taps) tap = weights.next();
  const float bias = has_bias ? weights.next() : 0.f;
  return std::make_shared<Filter>(std::move(taps), bias, 0);
}

std::shared_ptr<AmpModel> impulse_response(const float *samples, int64_t frames, double rate) {
  if (frames < 1) throw Error("the impulse response is empty");
  if (frames > kMaxTaps) throw Error(kTooLong);
  if (!(rate >= 1000 && rate <= 1e6)) throw Error("the impulse response's sample rate is out of range");
  for (int64_t i = 0; i < frames; i++)
    if (!std::isfinite(samples[i])) throw Error("sample " + std::to_string(i) + " of the impulse response is not finite");
  auto model = std::make_shared<ImpulseResponse>(std::vector<float>(samples, samples + frames), 0.f, rate);
  model->info["family"] = model->info["architecture"] = "IR";
  return model;
}

}  // namespace neurig
