// NAM's LSTM: layers of LSTM under one linear output.
#include "lstm.h"

#include <algorithm>

#include "net.h"

namespace neurig {
namespace {

class Lstm : public Net {
 public:
  Lstm(const Json &config, Weights weights) {
    inputs = int(integer(config, "input_size", "config", 1, 64));
    const int units = int(integer(config, "hidden_size", "config", 1, kMaxChannels));
    const int count = int(integer(config, "num_layers", "config", 1, 64));
    int64_t expected = units + 1;
    for (int l = 0; l < count; l++) expected += int64_t(4) * units * ((l ? units : inputs) + units + 1) + 2 * units;
    weights.expect(expected);

    for (int l = 0; l < count; l++) {
      LstmLayer layer(l ? units : inputs, units);
      for (int o = 0; o < 4 * units; o++)
        for (int i = 0; i < layer.inputs + units; i++) layer.weight(i, o / units, o % units) = weights.next();
      for (int o = 0; o < 4 * units; o++) layer.bias_of(o / units, o % units) = weights.next();
      for (int i = 0; i < 2 * units; i++) initial_.push_back(weights.next());
      layers_.push_back(std::move(layer));
    }
    head_ = Floats(size_t(units));
    for (int i = 0; i < units; i++) head_[size_t(i)] = weights.next();
    head_bias_ = weights.next();
    memory = -1;
    for (const LstmLayer &layer : layers_) macs += int64_t(4) * units * (layer.inputs + units);
    macs += units;
  }

  void lay_out(Layout &layout) override {
    for (LstmLayer &layer : layers_) layer.lay_out(layout);
  }

  // h and c of every layer as the file stores them
  void start(State &state) const override {
    const float *from = initial_.data();
    for (const LstmLayer &layer : layers_) {
      std::copy_n(from, layer.units, layer.output(state));
      std::copy_n(from + layer.units, layer.units, layer.cells(state));
      from += 2 * layer.units;
    }
  }

  void process(State &state, const float *in, Row out, int n) const override {
    const int units = layers_[0].units;
    for (int i = 0; i < n; i++) {
      for (int c = 0; c < inputs; c++) layers_[0].input(state)[c] = in[ptrdiff_t(c) * kRow + i];
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
  std::vector<float> initial_;
  Floats head_;
  float head_bias_ = 0;
};

}  // namespace

std::unique_ptr<Net> read_lstm(const Json &config, Weights weights) { return std::make_unique<Lstm>(config, std::move(weights)); }

}  // namespace neurig
