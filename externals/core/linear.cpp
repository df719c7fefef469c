// Filters: impulse responses (cabinets), and NAM's Linear.
#include <algorithm>
#include <cmath>

#include "convolver.h"
#include "net.h"

namespace neurig {
namespace {

constexpr int64_t kMaxTaps = kMaxStateFloats / 8;
const std::string kTooLong = "the impulse response is longer than " + std::to_string(kMaxTaps) + " samples";

using Channels = std::vector<std::vector<float>>;

// One convolution, or two of which a knob chooses: 0 the left one, 1 the right one, and between them both. For another
// rate the response is resampled, once, rather than the signal.
class ImpulseResponse : public AmpModel {
 public:
  ImpulseResponse(Channels taps, double model_rate) : taps_(std::move(taps)) {
    rate = model_rate;
    Layout layout;
    cost = 0;
    for (const std::vector<float> &channel : taps_) {
      convolvers_.emplace_back(channel, 0.f);
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

  std::shared_ptr<const AmpModel> at_rate(double host) const override {
    if (double(taps_[0].size()) * host > double(kMaxTaps) * rate) throw Error(kTooLong);
    Channels fresh;
    for (const std::vector<float> &channel : taps_) {
      fresh.push_back(resampled(channel.data(), int64_t(channel.size()), rate, host));
      for (float &tap : fresh.back()) tap *= float(rate / host);
    }
    return std::make_shared<ImpulseResponse>(std::move(fresh), host);
  }

 private:
  Channels taps_;
  std::vector<Convolver> convolvers_;
  std::vector<int64_t> places_;  // of their streams in the state
};

// The same filter for each channel: the first input to the first output, and so on; further outputs are silent.
class Linear : public Net {
 public:
  Linear(const Json &config, Weights weights) {
    const int64_t length = integer(config, "receptive_field", "config", 1, kMaxTaps);
    const bool has_bias = boolean(config, "bias", "config", false);
    if (config.contains("in_channels")) inputs = int(integer(config, "in_channels", "config", 1, 64));
    if (config.contains("out_channels")) outputs = int(integer(config, "out_channels", "config", 1, 64));
    weights.expect(length + has_bias);
    std::vector<float> taps(static_cast<size_t>(length));
    for (float &tap : taps) tap = weights.next();
    convolver_ = std::make_unique<Convolver>(taps, has_bias ? weights.next() : 0.f);
    memory = length - 1;
    settled = true;
    check_cost(cost = macs = length * channels());
  }

  void lay_out(Layout &layout) override {
    place_ = layout.take(convolver_->size() * channels());
    head_ = layout.heads.size();
    layout.heads.resize(head_ + size_t(channels()) * Convolver::kHeads);
  }

  void process(State &state, const float *in, Row out, int n) const override {
    float *memory = state.data.data() + place_;
    int *heads = state.heads.data() + head_;
    for (int c = 0; c < channels(); c++) {
      convolver_->process(memory, heads, in + c * kRow, out + c * kRow, n);
      memory += convolver_->size(), heads += Convolver::kHeads;
    }
    for (int c = channels(); c < outputs; c++) std::fill_n(out + c * kRow, n, 0.f);
  }

 private:
  int channels() const { return std::min(inputs, outputs); }

  std::unique_ptr<Convolver> convolver_;
  int64_t place_ = 0;  // of the channels' streams in the state
  size_t head_ = 0;    // the first of their positions
};

}  // namespace

std::unique_ptr<Net> read_linear(const Json &config, Weights weights) {
  return std::make_unique<Linear>(config, std::move(weights));
}

void check_ir_rate(double rate) {
  if (!(rate >= 1000 && rate <= 1e6))
    throw Error("the impulse response's sample rate is out of range (1000 to 1000000 Hz)");
}

std::shared_ptr<AmpModel> impulse_response(Channels channels, double rate) {
  if (channels.empty() || channels[0].empty()) throw Error("the impulse response is empty");
  if (int64_t(channels[0].size()) > kMaxTaps) throw Error(kTooLong);
  check_ir_rate(rate);
  for (const std::vector<float> &channel : channels)
    for (size_t i = 0; i < channel.size(); i++)
      if (!std::isfinite(channel[i]))
        throw Error("sample " + std::to_string(i) + " of the impulse response is not finite");
  auto model = std::make_shared<ImpulseResponse>(std::move(channels), rate);
  model->info["family"] = model->info["architecture"] = "IR";
  return model;
}

}  // namespace neurig
