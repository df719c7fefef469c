// NAM's LSTM: layers of LSTM under a linear head.
#include <algorithm>

#include "net.h"
#include "recurrent.h"

namespace neurig {
namespace {

class Lstm : public Net {
 public:
  Lstm(const Json &config, Weights weights) {
    inputs = int(integer(config, "input_size", "config", 1, 64));
    if (config.contains("out_channels")) outputs = int(integer(config, "out_channels", "config", 1, 64));
    const int units = int(integer(config, "hidden_size", "config", 1, kMaxChannels));
    const int count = int(integer(config, "num_layers", "config", 1, 64));
    head_ = Conv(units, outputs, 1, 1, 1, true, "config.head");
    int64_t expected = head_.weights();
    for (int l = 0; l < count; l++) expected += int64_t(4) * units * ((l ? units : inputs) + units + 1) + 2 * units;
    weights.expect(expected);

    for (int l = 0; l < count; l++) {
      RecurrentLayer layer(Cell::lstm, l ? units : inputs, units);
      for (int o = 0; o < 4 * units; o++)
        for (int row = 0; row < layer.inputs() + units; row++)
          layer.set_weight(row, o / units, o % units, weights.next());
      for (int o = 0; o < 4 * units; o++) layer.set_bias(o / units, o % units, weights.next());
      for (int i = 0; i < 2 * units; i++) initial_.push_back(weights.next());
      macs += layer.macs();
      layers_.push_back(std::move(layer));
    }
    head_.read(weights);
    head_.pack();
    memory = -1;
    macs += head_.macs();
    cost = macs + kLayerCost * count;
  }

  void lay_out(Layout &layout) override {
    for (RecurrentLayer &layer : layers_) layer.lay_out(layout);
    for (int64_t &place : hidden_) place = layout.rows(layers_[0].units());
  }

  // h and c of every layer as the file stores them
  void start(State &state) const override {
    const float *from = initial_.data();
    for (const RecurrentLayer &layer : layers_) {
      const int units = layer.units();
      for (int u = 0; u < units; u++) layer.set_state(state, u, from[u], from[units + u]);
      from += 2 * units;
    }
  }

  void process(State &state, const float *in, Row out, int n) const override {
    State *const states[] = {&state};
    together(states, 1, &in, &out, n);
  }
  void together(State *const *states, int channels, const float *const *in, const Row *out, int n) const override {
    Row hidden[kTogether];
    for (size_t l = 0; l < layers_.size(); l++, in = hidden) {
      const float *before[kTogether];
      std::copy_n(in, channels, before);
      for (int k = 0; k < channels; k++) hidden[k] = states[k]->data.data() + hidden_[l % 2];
      layers_[l].run(states, channels, before, kRow, hidden, kRow, n);
    }
    for (int k = 0; k < channels; k++) head_.apply(hidden[k], kRow, out[k], kRow, nullptr, 0, n);
  }

 private:
  std::vector<RecurrentLayer> layers_;
  std::vector<float> initial_;
  Conv head_;
  int64_t hidden_[2] = {};  // rows between the layers
};

}  // namespace

std::unique_ptr<Net> read_lstm(const Json &config, Weights weights) {
  return std::make_unique<Lstm>(config, std::move(weights));
}

}  // namespace neurig
