// NAM's WaveNet, A1 kind: layer arrays of dilated convolutions. Each layer computes
//   z = conv(x) + mixin·input + b,   a = tanh(z) or tanh(z₁)·sigmoid(z₂),   x' = x + W·a + b',   head += a
// (van den Oord et al. 2016; Wright et al. 2020 for amplifiers).
#include <algorithm>

#include "model.h"

namespace neurig {
namespace {

struct Layer {
  int dilation = 1, history = 0;  // history: first float of the layer's input history in the state
  int channels = 0, look = 0, capacity = 0, stride = 0;
  Floats conv, conv_bias;  // taps from oldest to newest, then the mix-in
  Floats out, out_bias;    // the 1×1 layer
};

struct Array {
  int inputs = 1, channels = 1, kernel = 1, head_size = 1;
  bool gated = false;
  Activation activation = Activation::tanh;
  Floats rechannel, head, head_bias;
  std::vector<Layer> layers;
  int rows() const { return gated ? 2 * channels : channels; }
};

Activation activation_named(const std::string &name, const std::string &where) {
  static const std::pair<const char *, Activation> known[] = {
      {"Tanh", Activation::tanh},           {"Fasttanh", Activation::tanh},     {"ReLU", Activation::relu},
      {"Sigmoid", Activation::sigmoid},     {"Hardtanh", Activation::hardtanh}, {"LeakyReLU", Activation::leaky_relu},
      {"SiLU", Activation::silu},           {"Hardswish", Activation::hardswish},
      {"Softsign", Activation::softsign}};
  for (const auto &[key, value] : known)
    if (name == key) return value;
  throw Error(where + ".activation \"" + name + "\" is not known");
}

class WaveNet : public AmpModel {
 public:
  explicit WaveNet(const Json &file) {
    const Json &config = field(file, "config", "the file");
    const Json &list = field(config, "layers", "config");
    if (!list.is_array() || list.empty() || int64_t(list.size()) > kMaxLayers)
      throw Error("config.layers must be a list of 1 to " + std::to_string(kMaxLayers) + " layer arrays");
    if (config.contains("head") && !config["head"].is_null()) throw Error("config.head after the layers is not supported");
    if (config.contains("condition_dsp")) throw Error("config.condition_dsp is not supported");
    Weights weights(file);
    int64_t layers = 0;
    for (size_t a = 0; a < list.size(); a++) {
      arrays_.push_back(shape(list[a], a));
      layers += int64_t(arrays_.back().layers.size());
      if (layers > kMaxLayers) throw Error("more than " + std::to_string(kMaxLayers) + " layers");
    }
    if (arrays_.back().head_size != 1) throw Error("the last layer array's head_size must be 1");
    const int64_t floats = lay_out();
    weights.expect(expected_weights());
    for (Array &array : arrays_) read(array, weights);
    head_scale_ = weights.next();

    int64_t receptive_field = 1;
    for (const Array &array : arrays_)
      for (const Layer &layer : array.layers) receptive_field += layer.look;
    info["receptive_field"] = receptive_field;
    info["macs"] = multiply_adds();
    State zeros{Floats(size_t(floats)), {}};
    // Rewinds copy memory: spread over time, no block has to do several.
    int n = 0;
    for (const Array &array : arrays_)
      for (const Layer &layer : array.layers)
        zeros.heads.push_back(layer.look + n++ % ((layer.capacity - layer.look) / kBlock) * kBlock);
    prewarm(std::move(zeros), receptive_field);
  }

  void process(State &state, const float *, const float *in, float *out, int n) const override {
    const Kernels &k = kernels();
    float *const base = state.data.data();
    float *const input = base, *const x = base + x_, *const head = base + head_, *const z = base + z_;
    std::memcpy(input, in, size_t(n) * sizeof(float));
    Source from{input, kRow, 1};
    bool first = true;
    int *head_of_history = state.heads.data();
    for (const Array &array : arrays_) {
      const int channels = array.channels, rows = array.rows();
      float *here = rewound(array.layers[0], base, head_of_history[0]);
      k.affine(here, array.layers[0].stride, channels, array.rechannel.data(), nullptr, nullptr, 0, &from, 1, n);
      for (size_t l = 0; l < array.layers.size(); l++) {
        const Layer &layer = array.layers[l];
        Source sources[kMaxKernel + 1];
        for (int tap = 0; tap < array.kernel; tap++)
          sources[tap] = {here - ptrdiff_t(array.kernel - 1 - tap) * layer.dilation, layer.stride, channels};
        sources[array.kernel] = {input, kRow, 1};
        k.affine(z, kRow, rows, layer.conv.data(), layer.conv_bias.data(), nullptr, 0, sources, array.kernel + 1, n);
        k.activate(array.activation, z, kRow, channels, n);
        if (array.gated) {
          k.activate(Activation::sigmoid, z + ptrdiff_t(channels) * kRow, kRow, channels, n);
          k.multiply(z, kRow, z + ptrdiff_t(channels) * kRow, kRow, channels, n);
        }
        if (first) std::memcpy(head, z, size_t(channels) * kRow * sizeof(float));
        else k.add(head, kRow, z, kRow, channels, n);
        first = false;

        const bool last = l + 1 == array.layers.size();
        float *next = last ? x : rewound(array.layers[l + 1], base, head_of_history[l + 1]);
        const ptrdiff_t stride = last ? kRow : array.layers[l + 1].stride;
        const Source hidden{z, kRow, channels};
        if (!last || &array != &arrays_.back())
          k.affine(next, stride, channels, layer.out.data(), layer.out_bias.data(), here, layer.stride, &hidden, 1, n);
        head_of_history[l] += n;
        here = next;
      }
      // z is free now: the next array's head sum starts from this one's head.
      const Source sum{head, kRow, channels};
      k.affine(z, kRow, array.head_size, array.head.data(), array.head_bias.data(), nullptr, 0, &sum, 1, n);
      std::memcpy(head, z, size_t(array.head_size) * kRow * sizeof(float));
      from = {x, kRow, channels};
      head_of_history += array.layers.size();
    }
    for (int i = 0; i < n; i++) out[i] = head_scale_ * head[i];
  }

 private:
  static constexpr int kMaxKernel = 64;
  std::vector<Array> arrays_;
  float head_scale_ = 1;
  int64_t x_ = 0, head_ = 0, z_ = 0;  // scratch rows in the state

  Array shape(const Json &config, size_t index) const {
    const std::string where = "config.layers[" + std::to_string(index) + "]";
    if (!config.is_object()) throw Error(where + " is not a JSON object");
    for (const char *name : {"bottleneck", "groups_input", "head1x1", "kernel_sizes", "gating_mode", "head", "slimmable", "groups_1x1",
                             "conv_pre_film", "conv_post_film", "input_mixin_pre_film", "input_mixin_post_film"})
      if (config.contains(name)) throw Error(where + "." + name + " (a newer kind of WaveNet) is not supported");
    Array array;
    array.inputs = int(integer(config, "input_size", where, 1, kMaxChannels));
    array.channels = int(integer(config, "channels", where, 1, kMaxChannels));
    array.kernel = int(integer(config, "kernel_size", where, 1, kMaxKernel));
    array.head_size = int(integer(config, "head_size", where, 1, kMaxChannels));
    array.gated = boolean(config, "gated", where, false);
    array.activation = activation_named(text(config, "activation", where), where);
    integer(config, "condition_size", where, 1, 1);
    if (boolean(config, "head_bias", where, false)) array.head_bias = Floats(size_t(array.head_size));
    for (int dilation : integers(config, "dilations", where, 1, 1 << 20)) {
      Layer layer;
      layer.dilation = dilation;
      array.layers.push_back(std::move(layer));
    }
    if (index == 0 && array.inputs != 1) throw Error(where + ".input_size must be 1");
    if (index > 0 && array.inputs != arrays_.back().channels)
      throw Error(where + ".input_size is " + std::to_string(array.inputs) + ", the array before has " + std::to_string(arrays_.back().channels) + " channels");
    if (index > 0 && array.channels != arrays_.back().head_size)
      throw Error(where + ".channels is " + std::to_string(array.channels) + ", the head of the array before gives " + std::to_string(arrays_.back().head_size));
    return array;
  }

  // Places histories and scratch rows; returns the state's size in floats.
  int64_t lay_out() {
    int64_t size = kRow;  // the input
    int rows = 1, channels = 1, heads = 1;
    for (Array &array : arrays_) {
      rows = std::max({rows, array.rows(), array.head_size});
      channels = std::max(channels, array.channels);
      heads = std::max({heads, array.channels, array.head_size});
    }
    x_ = size, size += int64_t(channels) * kRow;
    head_ = size, size += int64_t(heads) * kRow;
    z_ = size, size += int64_t(rows) * kRow;
    for (Array &array : arrays_)
      for (Layer &layer : array.layers) {
        const int64_t look = int64_t(array.kernel - 1) * layer.dilation, capacity = 2 * look + 16 * kBlock;
        if (capacity > kMaxStateFloats) throw Error("a dilation of " + std::to_string(layer.dilation) + " needs too much memory");
        // Rows a multiple of 4 KiB apart would compete for the same cache lines.
        int64_t stride = (capacity + kPad + 15) / 16 * 16;
        while (stride / 16 % 4 != 1) stride += 16;
        layer.channels = array.channels, layer.look = int(look), layer.capacity = int(capacity), layer.stride = int(stride);
        layer.history = int(size);
        size += stride * array.channels;
        if (size > kMaxStateFloats) throw Error("the model needs more than " + std::to_string(kMaxStateFloats * 4 >> 20) + " MiB for each stream");
      }
    return size;
  }

  int64_t expected_weights() const {
    int64_t n = 1;  // head_scale
    for (const Array &a : arrays_) {
      const int64_t c = a.channels, rows = a.rows(), layers = int64_t(a.layers.size());
      n += a.inputs * c + layers * (rows * c * a.kernel + rows + rows + c * c + c) + a.head_size * c + (a.head_bias.size() ? a.head_size : 0);
    }
    return n;
  }

  // Per sample: every weight but the biases once.
  int64_t multiply_adds() const {
    int64_t n = 0;
    for (const Array &a : arrays_) {
      const int64_t c = a.channels, rows = a.rows();
      n += a.inputs * c + int64_t(a.layers.size()) * (rows * c * a.kernel + rows + c * c) + a.head_size * c;
    }
    return n;
  }

  static void read(Array &array, Weights &weights) {
    const int c = array.channels, rows = array.rows(), kernel = array.kernel;
    const auto matrix = [&weights](int outs, int ins) {  // [out][in] in the file
      std::vector<float> w(size_t(outs) * ins);
      for (float &v : w) v = weights.next();
      Floats packed(w.size());
      pack_affine(packed.data(), outs, ins, [&](int o, int i) { return w[size_t(o) * ins + i]; });
      return packed;
    };
    const auto vector = [&weights](int n) {
      Floats v{size_t(n)};
      for (int i = 0; i < n; i++) v[size_t(i)] = weights.next();
      return v;
    };
    array.rechannel = matrix(c, array.inputs);
    for (Layer &layer : array.layers) {
      std::vector<float> conv(size_t(rows) * c * kernel), mixin(static_cast<size_t>(rows));  // conv: [out][in][tap] in the file
      for (float &v : conv) v = weights.next();
      layer.conv_bias = vector(rows);
      for (float &v : mixin) v = weights.next();
      layer.conv = Floats(conv.size() + mixin.size());
      pack_affine(layer.conv.data(), rows, c * kernel + 1, [&](int o, int i) {
        const int tap = i / c, channel = i % c;
        return tap == kernel ? mixin[size_t(o)] : conv[(size_t(o) * c + channel) * kernel + tap];
      });
      layer.out = matrix(c, c);
      layer.out_bias = vector(c);
    }
    array.head = matrix(array.head_size, c);
    if (array.head_bias.size()) array.head_bias = vector(array.head_size);
  }

  // The place to write the next block of a history to, after making room for it.
  static float *rewound(const Layer &layer, float *base, int &head) {
    float *const history = base + layer.history;
    if (head + kBlock > layer.capacity) {
      for (int c = 0; c < layer.channels; c++) {
        float *row = history + ptrdiff_t(c) * layer.stride;
        std::memmove(row, row + head - layer.look, size_t(layer.look) * sizeof(float));
      }
      head = layer.look;
    }
    return history + head;
  }
};

}  // namespace

std::shared_ptr<AmpModel> read_wavenet(const Json &file) { return std::make_shared<WaveNet>(file); }

}  // namespace neurig
