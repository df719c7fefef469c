// NAM's LSTM: layers of LSTM under one linear output.
#include "lstm.h"

#include <algorithm>

namespace neurig {
namespace {

class Lstm : public AmpModel {
 public:
  explicit Lstm(const Json &file) {
    const Json &config = field(file, "config", "the file");
    integer(config, "input_size", "config", 1, 1);
    const int units = int(integer(config, "hidden_size", "config", 1, kMaxChannels));
    const int count = int(integer(config, "num_layers", "config", 1, 64));
    Weights weights(file);
    int64_t expected = units + 1;
    for (int l = 0; l < count; l++) expected += int64_t(4) * units * ((l ? units : 1) + units + 1) + 2 * units;
    weights.expect(expected);

    std::vector<float> initial;  // h and c of every layer, as the file stores them
    size_t size = 0;
    int64_t macs = units;  // per sample
    for (int l = 0; l < count; l++) {
      LstmLayer layer(l ? units : 1, units);
      size = layer.lay_out(size);
      macs += int64_t(4) * units * (layer.inputs + units);
      for (int o = 0; o < 4 * units; o++)
        for (int i = 0; i < layer.inputs + units; i++) layer.weight(i, o / units, o % units) = weights.next();
      for (int o = 0; o < 4 * units; o++) layer.bias_of(o / units, o % units) = weights.next();
      for (int i = 0; i < 2 * units; i++) initial.push_back(weights.next());
      layers_.push_back(std::move(layer));
    }
    head_ = Floats(size_t(units));
    for (int i = 0; i < units; i++) head_[size_t(i)] = weights.next();
    head_bias_ = weights.next();

    State zeros{Floats(size), {}};
    for (int l = 0; l < count; l++) {
      const float *from = initial.data() + size_t(l) * 2 * units;
      std::copy(from, from + units, layers_[size_t(l)].output(zeros));
      std::copy(from + units, from + 2 * units, zeros.data.data() + layers_[size_t(l)].cell);
    }
    info["receptive_field"] = nullptr;  // remembers for ever
    info["macs"] = macs;
    // Half a second, as NAM's own engine does; less for a huge model, so that loading ends.
    prewarm(std::move(zeros), std::min<int64_t>(int64_t(rate_of(file) / 2), int64_t(2e9) / expected));
  }

  void process(State &state, const float *, const float *in, float *out, int n) const override {
    const int units = layers_[0].units;
    for (int i = 0; i < n; i++) {
      *layers_[0].input(state) = in[i];
      for (size_t l = 0; l < layers_.size(); l++) {
        if (l) std::copy_n(layers_[l - 1].output(state), units, layers_[l].input(state));
        layers_[l].step(state);
      }
      const float *h = layers_.back().output(state);
      float y = head_bias_;
      for (int u = 0; u < units; u++) y += head_[size_t(u)] * h[u];
      out[i] = y;
    }
  }

 private:
  std::vector<LstmLayer> layers_;
  Floats head_;
  float head_bias_ = 0;
};

}  // namespace

std::shared_ptr<AmpModel> read_lstm(const Json &file) { return std::make_shared<Lstm>(file); }

}  // namespace neurig
