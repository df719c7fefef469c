// The gated WaveNet of Damskägg et al. 2019 and Wright et al. 2020, as WaveNetVA, PedalNetRT and AmpEmulatorModel
// write it. Each layer computes
//   z = conv(x) + b,   a = tanh(z₁)·sigmoid(z₂),   x' = x + W·a + b',
// and the output is a sum over the a of all layers. Other activations than the gated one are in the format too.
#include <algorithm>
#include <map>

#include "history.h"

namespace neurig {
namespace {

struct Gate {
  const char *name;
  Activation activation;
  bool gated;
  Activation gate;
};
constexpr Gate kGates[] = {{"gated", Activation::tanh, true, Activation::sigmoid},
                           {"softgated", Activation::softsign, true, Activation::softsign},
                           {"tanh", Activation::tanh, false, {}},
                           {"sigmoid", Activation::sigmoid, false, {}},
                           {"relu", Activation::relu, false, {}},
                           {"softsign", Activation::softsign, false, {}},
                           {"linear", Activation::none, false, {}}};

class GatedWaveNet : public AmpModel {
 public:
  explicit GatedWaveNet(const Json &file) {
    const std::string top = "the file";
    integer(file, "input_channels", top, 1, 1);
    integer(file, "output_channels", top, 1, 1);
    channels_ = int(integer(file, "residual_channels", top, 1, kMaxChannels));
    kernel_ = int(integer(file, "filter_width", top, 1, kMaxKernel));
    const std::string name = text(file, "activation", top);
    gate_ = nullptr;
    for (const Gate &gate : kGates)
      if (name == gate.name) gate_ = &gate;
    if (!gate_) throw Error("activation \"" + name + "\" is not known");
    rows_ = gate_->gated ? 2 * channels_ : channels_;
    const std::vector<int> dilations = integers(file, "dilations", top, 1, 1 << 20);
    const Json &variables = field(file, "variables", top);
    if (!variables.is_array()) throw Error("variables must be a list");

    const int count = int(dilations.size()), c = channels_;
    std::map<std::pair<int, std::string>, size_t> places;  // where each variable is
    for (size_t i = 0; i < variables.size(); i++) {
      const std::string where = "variables[" + std::to_string(i) + "]";
      const auto key =
          std::make_pair(int(integer(variables[i], "layer_idx", where, -1, count)), text(variables[i], "name", where));
      if (!places.emplace(key, i).second)
        throw Error(where + " is layer " + std::to_string(key.first) + "'s " + key.second + " for the second time");
    }
    const auto variable = [&](int layer, const char *name, int64_t size) {
      const auto found = places.find({layer, name});
      if (found == places.end())
        throw Error("variables have no \"" + std::string(name) + "\" of layer_idx " + std::to_string(layer));
      const std::string where = "variables[" + std::to_string(found->second) + "]";
      return tensor(field(variables[found->second], "data", where), {size}, where + ".data");
    };
    // [in][out] in the file
    const auto matrix = [](const std::vector<float> &w, int outs, int ins) {
      Floats packed(w.size());
      pack_affine(packed.data(), outs, ins, [&](int o, int i) { return w[size_t(i) * outs + o]; });
      return packed;
    };
    const auto vector = [](const std::vector<float> &v) {
      Floats floats(v.size());
      for (size_t i = 0; i < v.size(); i++) floats[i] = v[i];
      return floats;
    };

    input_ = matrix(variable(-1, "W", c), c, 1);
    input_bias_ = vector(variable(-1, "b", c));
    const std::vector<float> mix = variable(count, "W", int64_t(count) * c);
    output_bias_ = variable(count, "b", 1)[0];
    Layout layout;
    signal_ = layout.take(kRow);
    z_ = layout.take(int64_t(rows_) * kRow);
    sum_ = layout.take(kRow);
    int64_t receptive_field = 1;
    for (int l = 0; l < count; l++) {
      Layer layer;
      // taps from oldest to newest, [tap][in][out]: one matrix over the taps' channels
      layer.conv = matrix(variable(l, "W_conv", int64_t(kernel_) * c * rows_), rows_, kernel_ * c);
      layer.conv_bias = vector(variable(l, "b_conv", rows_));
      layer.out = matrix(variable(l, "W_out", int64_t(c) * c), c, c);
      layer.out_bias = vector(variable(l, "b_out", c));
      layer.mix = matrix(std::vector<float>(mix.begin() + int64_t(l) * c, mix.begin() + int64_t(l + 1) * c), 1, c);
      layer.dilation = dilations[size_t(l)];
      layer.history = History(c, int64_t(kernel_ - 1) * layer.dilation, layout);
      receptive_field += layer.history.look;
      layers_.push_back(std::move(layer));
    }
    rate = rate_of(file);
    info["family"] = "WaveNetVA";
    info["architecture"] = "WaveNet " + std::to_string(c) + ", " + std::to_string(count) + " layers, " + name;
    info["receptive_field"] = receptive_field;
    const int64_t macs = c + int64_t(count) * (int64_t(kernel_) * c * rows_ + int64_t(c) * c + c);
    info["macs"] = macs;
    info["weights"] = macs + c + int64_t(count) * (rows_ + c) + 1;
    cost = macs + kLayerCost * count;
    prewarm(layout.zeros(), receptive_field);
  }

  void process(State &state, const float *, const float *in, float *out, int n) const override {
    const Kernels &k = kernels();
    const int c = channels_;
    float *const base = state.data.data();
    float *const signal = base + signal_, *const z = base + z_, *const second = z + ptrdiff_t(c) * kRow,
                 *const sum = base + sum_;
    std::memcpy(signal, in, size_t(n) * sizeof(float));
    const Source input{signal, kRow, 1}, hidden{z, kRow, c};
    float *here = layers_[0].history.next(state);
    k.affine(here, layers_[0].history.stride, c, input_.data(), input_bias_.data(), nullptr, 0, &input, 1, n);
    for (size_t l = 0; l < layers_.size(); l++) {
      const Layer &layer = layers_[l];
      const ptrdiff_t stride = layer.history.stride;
      Source taps[kMaxKernel];
      for (int t = 0; t < kernel_; t++) taps[t] = {here - ptrdiff_t(kernel_ - 1 - t) * layer.dilation, stride, c};
      k.affine(z, kRow, rows_, layer.conv.data(), layer.conv_bias.data(), nullptr, 0, taps, kernel_, n);
      k.activate(gate_->activation, nullptr, z, kRow, c, n);
      if (gate_->gated) {
        k.activate(gate_->gate, nullptr, second, kRow, c, n);
        k.multiply(z, kRow, second, kRow, c, n);
      }
      k.affine(sum, kRow, 1, layer.mix.data(), l ? nullptr : &output_bias_, l ? sum : nullptr, kRow, &hidden, 1, n);
      layer.history.advance(state, n);
      if (l + 1 == layers_.size()) break;  // the last layer's x' goes nowhere
      const History &after = layers_[l + 1].history;
      float *const next = after.next(state);
      k.affine(next, after.stride, c, layer.out.data(), layer.out_bias.data(), here, stride, &hidden, 1, n);
      here = next;
    }
    std::memcpy(out, sum, size_t(n) * sizeof(float));
  }

 private:
  static constexpr int kMaxKernel = 64;
  struct Layer {
    Floats conv, conv_bias, out, out_bias, mix;  // mix: the layer's part of the output
    int dilation = 1;
    History history;
  };
  int channels_ = 1, kernel_ = 1, rows_ = 1;  // rows: of z
  const Gate *gate_;
  Floats input_, input_bias_;
  float output_bias_ = 0;
  std::vector<Layer> layers_;
  int64_t signal_ = 0, z_ = 0, sum_ = 0;  // places
};

}  // namespace

std::shared_ptr<AmpModel> read_gated_wavenet(const Json &file) { return std::make_shared<GatedWaveNet>(file); }

}  // namespace neurig
