// Filters: NAM's Linear, and impulse responses (cabinets).
#include <cmath>

#include "convolver.h"

namespace neurig {
namespace {

constexpr int64_t kMaxTaps = kMaxStateFloats / 8;
const std::string kTooLong = "the impulse response is longer than " + std::to_string(kMaxTaps) + " samples";

using Channels = std::vector<std::vector<float>>;

// One convolution, or two of which a knob chooses: 0 the left one, 1 the right one, and between them both.
class Filter : public AmpModel {
 public:
  Filter(Channels taps, float bias, double model_rate) : taps_(std::move(taps)) {
    rate = model_rate;
    Layout layout;
    cost = 0;
    for (const std::vector<float> &channel : taps_) {
      convolvers_.emplace_back(channel, bias);
      places_.push_back(layout.take(convolvers_.back().size()));
      cost += int64_t(channel.size());
    }
    info["macs"] = cost;
    layout.heads.resize(taps_.size() * Convolver::kHeads);
    info["receptive_field"] = taps_[0].size();
    if (taps_.size() > 1) params.push_back({"side", 0, 1, 0.5f});
    prewarm(layout.zeros(), 0);  // of silence nothing is kept
  }
  void process(State &state, const float *knobs, const float *in, float *out, int n) const override {
    float made[2][kBlock];
    for (size_t c = 0; c < convolvers_.size(); c++) {
      int *const heads = state.heads.data() + c * Convolver::kHeads;
      convolvers_[c].process(state.data.data() + places_[c], heads, in, made[c], n);
    }
    if (convolvers_.size() == 1) std::copy_n(made[0], n, out);
    else for (int i = 0; i < n; i++) out[i] = made[0][i] + knobs[0] * (made[1][i] - made[0][i]);
  }

 protected:
  Channels taps_;

 private:
  std::vector<Convolver> convolvers_;
  std::vector<int64_t> places_;  // of their streams in the state
};

// An impulse response is resampled itself, once, rather than the signal.
class ImpulseResponse : public Filter {
 public:
  using Filter::Filter;
  std::shared_ptr<const AmpModel> at_rate(double host) const override {
    if (double(taps_[0].size()) * host > double(kMaxTaps) * rate) throw Error(kTooLong);
    Channels fresh;
    for (const std::vector<float> &channel : taps_) {
      fresh.push_back(resampled(channel.data(), int64_t(channel.size()), rate, host));
      for (float &tap : fresh.back()) tap *= float(rate / host);
    }
    return std::make_shared<ImpulseResponse>(std::move(fresh), 0.f, host);
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
  return std::make_shared<Filter>(Channels{std::move(taps)}, bias, 0);
}

std::shared_ptr<AmpModel> impulse_response(Channels channels, double rate) {
  if (channels.empty() || channels[0].empty()) throw Error("the impulse response is empty");
  if (int64_t(channels[0].size()) > kMaxTaps) throw Error(kTooLong);
  if (!(rate >= 1000 && rate <= 1e6)) throw Error("the impulse response's sample rate is out of range");
  for (const std::vector<float> &channel : channels)
    for (size_t i = 0; i < channel.size(); i++)
      if (!std::isfinite(channel[i]))
        throw Error("sample " + std::to_string(i) + " of the impulse response is not finite");
  auto model = std::make_shared<ImpulseResponse>(std::move(channels), 0.f, rate);
  model->info["family"] = model->info["architecture"] = "IR";
  return model;
}

}  // namespace neurig
