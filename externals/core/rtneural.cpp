// RTNeural's JSON: Keras layers with their weights. AIDA-X's files (.aidax) are the same, with gains, a skip connection
// and a recorded answer to check against.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "sequential.h"

namespace neurig {
namespace {

constexpr int64_t kMaxKernel = 1 << 20, kMaxDilation = 1 << 20;
constexpr double kSelfCheck = 1e-5;  // ESR from which on a file's recorded answer counts as missed

// The last number of a shape, or of four the product of the last two (features and filters); the first are often null.
int width(const Json &shape, const std::string &where) {
  if (!shape.is_array() || shape.empty() || shape.size() > 4) throw Error(where + " must be a list of 1 to 4 sizes");
  int64_t product = 1;
  for (size_t i = shape.size() == 4 ? 2 : shape.size() - 1; i < shape.size(); i++) {
    if (!shape[i].is_number_integer()) throw Error(where + " must end with a whole number");
    const double size = shape[i].get<double>();
    if (!(size >= 1 && size <= kMaxChannels))
      throw Error(where + " ends with " + shape[i].dump() + ", must be 1 to " + std::to_string(kMaxChannels));
    product *= int64_t(size);
  }
  if (product > kMaxChannels)
    throw Error(where + " has " + std::to_string(product) + " channels, at most " + std::to_string(kMaxChannels));
  return int(product);
}

// A size that Keras writes as [3] or (RTNeural's examples) 3.
int64_t last_integer(const Json &layer, const char *name, const std::string &where, int64_t high) {
  const Json &value = field(layer, name, where);
  return value.is_array() ? integers(layer, name, where, 1, high).back() : integer(layer, name, where, 1, high);
}

// Adds one layer of the file to a stack.
class LayerReader {
 public:
  LayerReader(const Json &layer, const std::string &where, Sequential &stack)
      : layer_(layer), where_(where), stack_(stack), ins_(stack.channels()), type_(text(layer, "type", where)),
        weights_(layer.contains("weights") ? layer["weights"] : empty_) {
    if (!weights_.is_array()) throw Error(where + ".weights must be a list");
  }

  // Returns a word or two about the layer.
  std::string read() {
    const bool is_dense = type_ == "dense" || type_ == "time-distributed-dense";
    if (is_dense || type_ == "conv1d" || type_ == "conv2d") {
      std::string text = is_dense ? dense() : type_ == "conv1d" ? conv1d() : conv2d();
      return text += activation();  // which comes after
    }
    if (type_ == "lstm") return lstm();
    if (type_ == "gru") return gru();
    if (type_ == "batchnorm") return batch_norm(ins_);
    if (type_ == "batchnorm2d") return batch_norm(int(integer(layer_, "num_filters_in", where_, 1, kMaxChannels)));
    if (type_ == "prelu") return prelu();
    if (type_ == "activation") return activation().substr(1);
    throw Error(where_ + ".type \"" + type_ + "\" is not known");
  }

 private:
  const Json &layer_, empty_ = Json::array();
  const std::string &where_;
  Sequential &stack_;
  const int ins_;
  const std::string type_;
  const Json &weights_;

  std::string weight_name(size_t i) const { return where_ + ".weights[" + std::to_string(i) + "]"; }
  std::vector<float> weights(size_t i, const std::vector<int64_t> &sizes) const {
    if (i >= weights_.size())
      throw Error(where_ + ".weights has " + std::to_string(weights_.size()) + " parts, part " + std::to_string(i) +
                  " is missing");
    return tensor(weights_[i], sizes, weight_name(i));
  }
  // Keras leaves a bias out where there is none.
  std::vector<float> bias(size_t i, const std::vector<int64_t> &sizes) const {
    if (i < weights_.size()) return weights(i, sizes);
    int64_t size = 1;
    for (int64_t s : sizes) size *= s;
    return std::vector<float>(size_t(size), 0.f);
  }
  int outs() const { return width(field(layer_, "shape", where_), where_ + ".shape"); }

  std::string dense() {
    const int n = outs();
    const std::vector<float> w = weights(0, {ins_, n});
    stack_.dense(n, [&](int o, int i, int) { return w[size_t(i) * n + o]; }, bias(1, {n}));
    return "dense " + std::to_string(n);
  }

  std::string conv1d() {
    const int n = outs(), kernel = int(last_integer(layer_, "kernel_size", where_, kMaxKernel));
    const int64_t dilation = last_integer(layer_, "dilation", where_, kMaxDilation);
    const int groups = layer_.contains("groups") ? int(integer(layer_, "groups", where_, 1, kMaxChannels)) : 1;
    if (ins_ % groups || n % groups)
      throw Error(where_ + ".groups is " + std::to_string(groups) + ", which does not divide " + std::to_string(ins_) +
                  " inputs and " + std::to_string(n) + " outputs");
    const int share = ins_ / groups;
    const std::vector<float> w = weights(0, {kernel, share, n});
    stack_.conv(
        n, kernel, dilation, groups, [&](int o, int i, int tap) { return w[(size_t(tap) * share + i) * n + o]; },
        bias(1, {n}));
    return "conv1d " + std::to_string(n);
  }

  // A convolution over time and over features: written out as one over time, with a weight from each feature to each.
  std::string conv2d() {
    const int filters = int(last_integer(layer_, "num_filters_in", where_, kMaxChannels));
    const int features = int(last_integer(layer_, "num_features_in", where_, kMaxChannels));
    const int outs_each = int(last_integer(layer_, "num_filters_out", where_, kMaxChannels));
    const int kernel = int(last_integer(layer_, "kernel_size_time", where_, kMaxKernel));
    const int across = int(last_integer(layer_, "kernel_size_feature", where_, kMaxChannels));
    const int64_t dilation = last_integer(layer_, "dilation", where_, kMaxDilation);
    const int stride = int(last_integer(layer_, "strides", where_, kMaxChannels));
    const bool valid = text(layer_, "padding", where_) == "valid";
    if (filters * features != ins_)
      throw Error(where_ + " takes " + std::to_string(features) + " features of " + std::to_string(filters) +
                  " channels; the layer before gives " + std::to_string(ins_));
    const int places = valid ? (features - across) / stride + 1 : (features + stride - 1) / stride;
    if ((valid && across > features) || places * outs_each != outs())
      throw Error(where_ + ".shape does not agree with its kernel, strides and padding");
    const int before = valid ? 0 : std::max((places - 1) * stride + across - features, 0) / 2;
    const std::vector<float> w = weights(0, {kernel, across, filters, outs_each}), b = bias(1, {outs_each});
    std::vector<float> biases(size_t(places) * outs_each);
    for (size_t o = 0; o < biases.size(); o++) biases[o] = b[o % size_t(outs_each)];
    const auto weight = [&](int o, int i, int tap) {
      const int at = i / filters - (o / outs_each * stride - before);
      return at < 0 || at >= across
                 ? 0.f
                 : w[((size_t(tap) * across + at) * filters + i % filters) * outs_each + o % outs_each];
    };
    stack_.conv(places * outs_each, kernel, dilation, 1, weight, biases);
    return "conv2d " + std::to_string(places) + "×" + std::to_string(outs_each);
  }

  // The rows of a recurrent layer's two matrices, [inputs][gates · units] and [units][gates · units], as one.
  Sequential::GateWeight gates(const std::vector<float> &kernel, const std::vector<float> &recurrent, int columns,
                               std::vector<int> order) const {
    const int units = columns / int(order.size());
    return [&kernel, &recurrent, columns, order, units, ins = ins_](int row, int gate, int unit) {
      const size_t column = size_t(order[size_t(gate)] * units + unit);
      return row < ins ? kernel[size_t(row) * columns + column] : recurrent[size_t(row - ins) * columns + column];
    };
  }

  std::string lstm() {
    const int units = outs();
    const std::vector<float> kernel = weights(0, {ins_, 4 * units}), recurrent = weights(1, {units, 4 * units}),
                             b = bias(2, {4 * units});
    stack_.recurrent(Cell::lstm, units, gates(kernel, recurrent, 4 * units, {0, 1, 2, 3}),
                     [&](int gate, int unit) { return b[size_t(gate * units + unit)]; });
    return "LSTM " + std::to_string(units);
  }

  std::string gru() {
    const int units = outs(), columns = 3 * units;  // Keras: z r n
    const std::vector<float> kernel = weights(0, {ins_, columns}), recurrent = weights(1, {units, columns});
    if (weights_.size() > 2 && weights_[2].is_array() && !weights_[2].empty() && !weights_[2][0].is_array())
      throw Error(weight_name(2) + " is one list: a GRU made with reset_after=False is not supported");
    const std::vector<float> b = bias(2, {2, columns});
    stack_.recurrent(Cell::gru, units, gates(kernel, recurrent, columns, {1, 0, 2}), [&](int gate, int unit) {
      if (gate >= 2) return b[size_t((gate - 2) * columns + 2 * units + unit)];
      const size_t column = size_t((1 - gate) * units + unit);
      return b[column] + b[size_t(columns) + column];
    });
    return "GRU " + std::to_string(units);
  }

  // `channels`: one set of numbers for each of them, over and over.
  std::string batch_norm(int channels) {
    if (ins_ % channels)
      throw Error(where_ + " has " + std::to_string(channels) + " channels, the layer before gives " +
                  std::to_string(ins_));
    const size_t parts = weights_.size();
    if (parts != 2 && parts != 4)
      throw Error(where_ + ".weights has " + std::to_string(parts) + " parts, must be 2 or 4");
    const double epsilon = number(layer_, "epsilon", where_, 0, 1e6);
    const std::vector<float> ones(size_t(channels), 1.f), zeros(size_t(channels), 0.f);
    const std::vector<float> gamma = parts == 4 ? weights(0, {channels}) : ones,
                             beta = parts == 4 ? weights(1, {channels}) : zeros;
    const std::vector<float> mean = weights(parts - 2, {channels}), variance = weights(parts - 1, {channels});
    Pointwise op{Pointwise::scale, Activation::none, {}, {}};
    for (int i = 0; i < ins_; i++) {
      const size_t c = size_t(i % channels);
      if (!(variance[c] + epsilon > 0))
        throw Error(weight_name(parts - 1) + "[" + std::to_string(c) + "] is a variance that is not positive");
      const double factor = gamma[c] / std::sqrt(variance[c] + epsilon);
      op.factor.push_back(float(factor));
      op.shift.push_back(float(beta[c] - mean[c] * factor));
    }
    stack_.pointwise(std::move(op));
    return "batch norm";
  }

  std::string prelu() {
    const Json *slopes = weights_.empty() ? &empty_ : &weights_[0];
    while (slopes->is_array() && slopes->size() == 1 && (*slopes)[0].is_array()) slopes = &(*slopes)[0];
    const bool shared = slopes->is_array() && slopes->size() == 1;
    std::vector<float> factor = tensor(*slopes, {shared ? 1 : ins_}, weight_name(0));
    if (shared) factor.assign(size_t(ins_), factor[0]);
    stack_.pointwise({Pointwise::prelu, Activation::none, std::move(factor), {}});
    return "PReLU";
  }

  // What follows the layer; with a space in front.
  std::string activation() {
    if (!layer_.contains("activation") || layer_["activation"].is_null()) return type_ == "activation" ? " linear" : "";
    const std::string name = text(layer_, "activation", where_);
    static const std::pair<const char *, Activation> known[] = {{"tanh", Activation::tanh},
                                                                {"relu", Activation::relu},
                                                                {"sigmoid", Activation::sigmoid},
                                                                {"elu", Activation::elu}};
    if (name.empty() || name == "linear") return type_ == "activation" ? " linear" : "";
    if (name == "softmax") stack_.pointwise({Pointwise::softmax, Activation::none, {}, {}});
    else {
      const auto *found =
          std::find_if(std::begin(known), std::end(known), [&](const auto &k) { return name == k.first; });
      if (found == std::end(known)) throw Error(where_ + ".activation \"" + name + "\" is not known");
      stack_.activation(found->second);
    }
    return " " + name;
  }
};

// Decibels as a factor; 1 where the file has none.
float gain(const Json &file, const char *name) {
  if (!file.contains(name) || file[name].is_null()) return 1;
  return float(std::pow(10, number(file, name, "the file", -120, 120) / 20));
}

// The model's answer to the input that the file carries, against the one that it carries.
void self_check(const Json &file, Sequential &model) {
  if (!file.contains("input_batch") || !file.contains("output_batch")) return;
  const Json &in = file["input_batch"], &out = file["output_batch"];
  if (!in.is_array() || in.empty() || !out.is_array() || out.size() != in.size())
    return model.warn("its self-check cannot be read: input_batch and output_batch are not lists of the same length");
  std::vector<float> x, wanted;
  try {
    x = tensor(in, {int64_t(in.size())}, "input_batch");
    wanted = tensor(out, {int64_t(out.size())}, "output_batch");
  } catch (const Error &error) {
    return model.warn(std::string("its self-check cannot be read: ") + error.what());
  }
  // Of a huge model, the beginning is enough.
  x.resize(std::min(x.size(), std::max<size_t>(64, size_t(1e9) / size_t(model.cost))));
  const std::vector<float> y = model.response(x);
  double error = 0, energy = 0;
  for (size_t i = 0; i < y.size(); i++) {
    error += (double(y[i]) - wanted[i]) * (double(y[i]) - wanted[i]);
    energy += double(wanted[i]) * wanted[i];
  }
  const double esr = error / std::max(energy, 1e-20);
  if (std::isfinite(esr)) model.info["self_check"] = esr;
  char text[160];
  std::snprintf(text, sizeof text,
                "its self-check fails: for the input that the file carries, the output is off by an ESR of %.2g", esr);
  if (!(esr <= kSelfCheck)) model.warn(text);
}

}  // namespace

std::shared_ptr<AmpModel> read_rtneural(const Json &file) {
  const Json &layers = field(file, "layers", "the file");
  if (!layers.is_array() || layers.empty() || int64_t(layers.size()) > kMaxLayers)
    throw Error("layers must be a list of 1 to " + std::to_string(kMaxLayers) + " layers");
  const int inputs = width(field(file, "in_shape", "the file"), "in_shape");
  if (inputs > kMaxInputs)
    throw Error("in_shape ends with " + std::to_string(inputs) + " inputs, at most " + std::to_string(kMaxInputs));
  auto model = std::make_shared<Sequential>(inputs);
  std::string architecture;
  for (size_t l = 0; l < layers.size(); l++) {
    const std::string where = "layers[" + std::to_string(l) + "]";
    architecture += (l ? ", " : "") + LayerReader(layers[l], where, *model).read();
  }
  model->skip =
      file.contains("in_skip") && !file["in_skip"].is_null() && integer(file, "in_skip", "the file", 0, 1) == 1;
  model->in_gain = gain(file, "in_gain");
  model->out_gain = gain(file, "out_gain");
  model->rate = rate_of(file);
  model->info["family"] = "RTNeural";
  model->info["architecture"] = architecture;
  model->finish();
  self_check(file, *model);
  return model;
}

}  // namespace neurig
