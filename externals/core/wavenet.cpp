// NAM's WaveNet, all of its format: layer arrays of dilated convolutions with skip connections to a head (van den Oord et
// al. 2016; Wright et al. 2020 for amplifiers). In its simplest form a layer computes
//   z = conv(x) + mixin·condition + b,   a = f(z) or f(z₁)·g(z₂),   x' = x + W·a + b',   head += a
// and newer models put modulations (FiLM) between these steps. Where the trainer and other players disagree, this
// follows the trainer.
#include <algorithm>

#include "net.h"

namespace neurig {
namespace {

enum class Gating { none, gated, blended };

struct Layer {
  Conv conv, mixin, layer1x1, head1x1;
  ActivationSpec activation, secondary;
  Gating gating = Gating::none;
  Film conv_pre, conv_post, mixin_pre, mixin_post, activation_pre, activation_post, layer1x1_post, head1x1_post;
  History past;
  int64_t kept = 0;  // of a paired convolution: see LayerBlock
  size_t phase = 0;
  int kept_stride() const { return conv.dilation + kPad; }
  bool mixed = false;  // the mix-in is computed together with the convolution
  WaveNetLayer kernel{};  // computes the whole layer at once, where kernel.run is set

  std::vector<std::pair<Film *, const char *>> films() {
    return {{&conv_pre, "conv_pre_film"},       {&conv_post, "conv_post_film"},
            {&mixin_pre, "input_mixin_pre_film"}, {&mixin_post, "input_mixin_post_film"},
            {&activation_pre, "activation_pre_film"}, {&activation_post, "activation_post_film"},
            {&layer1x1_post, "layer1x1_post_film"}, {&head1x1_post, "head1x1_post_film"}};
  }
};

struct Array {
  int inputs = 1, condition = 1, channels = 1, bottleneck = 1, head_rows = 1;
  bool has_layer1x1 = true, has_head1x1 = false;
  Conv rechannel, head;
  History head_past;
  std::vector<Layer> layers;
};

// A field that is one value for all layers, or a list with one each.
const Json &each(const Json &value, size_t layer, size_t layers, const std::string &where) {
  if (!value.is_array()) return value;
  if (value.size() != layers)
    throw Error(where + " has " + std::to_string(value.size()) + " entries for " + std::to_string(layers) + " layers");
  return value[layer];
}

bool has(const Json &config, const char *name) { return config.contains(name) && !config[name].is_null(); }

int groups_of(const Json &config, const char *name, const std::string &where) {
  return has(config, name) ? int(integer(config, name, where, 1, kMaxChannels)) : 1;
}

Array shape(const Json &config, const std::string &where) {
  if (!config.is_object()) throw Error(where + " is not a JSON object");
  Array array;
  array.inputs = int(integer(config, "input_size", where, 1, kMaxChannels));
  array.condition = int(integer(config, "condition_size", where, 1, kMaxChannels));
  const int channels = array.channels = int(integer(config, "channels", where, 1, kMaxChannels));
  const int bottleneck = array.bottleneck =
      has(config, "bottleneck") ? int(integer(config, "bottleneck", where, 1, kMaxChannels)) : channels;
  const std::vector<int> dilations = integers(config, "dilations", where, 1, 1 << 20);
  const size_t count = dilations.size();
  if (has(config, "kernel_size") && has(config, "kernel_sizes"))
    throw Error(where + " has both kernel_size and kernel_sizes");

  int layer1x1_groups = 1, head1x1_groups = 1, head1x1_outputs = bottleneck;
  if (has(config, "layer1x1")) {
    array.has_layer1x1 = boolean(config["layer1x1"], "active", where + ".layer1x1", true);
    layer1x1_groups = groups_of(config["layer1x1"], "groups", where + ".layer1x1");
  }
  if (has(config, "head1x1")) {
    array.has_head1x1 = boolean(config["head1x1"], "active", where + ".head1x1", true);
    head1x1_groups = groups_of(config["head1x1"], "groups", where + ".head1x1");
    if (array.has_head1x1)
      head1x1_outputs = int(integer(config["head1x1"], "out_channels", where + ".head1x1", 1, kMaxChannels));
  }
  if (!array.has_layer1x1 && bottleneck != channels)
    throw Error(where + ": without layer1x1 the bottleneck must equal the channels");
  array.head_rows = array.has_head1x1 ? head1x1_outputs : bottleneck;
  array.rechannel = Conv(array.inputs, channels, 1, 1, 1, false, where + ".rechannel");

  for (size_t l = 0; l < count; l++) {
    const std::string place = where + " layer " + std::to_string(l);
    Layer layer;
    int kernel;
    if (has(config, "kernel_sizes")) {
      const std::string name = where + ".kernel_sizes";
      const Json entry = {{"kernel_sizes", each(field(config, "kernel_sizes", where), l, count, name)}};
      kernel = int(integer(entry, "kernel_sizes", where, 1, Conv::kMaxKernel));
    } else {
      kernel = int(integer(config, "kernel_size", where, 1, Conv::kMaxKernel));
    }
    if (has(config, "gating_mode")) {
      const Json &mode = each(config["gating_mode"], l, count, where + ".gating_mode");
      if (mode == "gated") layer.gating = Gating::gated;
      else if (mode == "blended") layer.gating = Gating::blended;
      else if (mode != "none") throw Error(where + ".gating_mode must be \"none\", \"gated\" or \"blended\"");
    } else if (boolean(config, "gated", where, false)) {
      layer.gating = Gating::gated;
    }
    const int rows = layer.gating == Gating::none ? bottleneck : 2 * bottleneck;
    const std::string activation = where + ".activation";
    layer.activation =
        read_activation(each(field(config, "activation", where), l, count, activation), bottleneck, activation);
    if (layer.gating != Gating::none) {
      layer.secondary.kind = Activation::sigmoid;
      if (has(config, "secondary_activation")) {
        const std::string name = where + ".secondary_activation";
        const Json &secondary = each(config["secondary_activation"], l, count, name);
        if (!secondary.is_null()) layer.secondary = read_activation(secondary, bottleneck, name);
      }
    }
    layer.conv = Conv(channels, rows, kernel, dilations[l], groups_of(config, "groups_input", where), true, place);
    const int mixin_groups = groups_of(config, "groups_input_mixin", where);
    layer.mixin = Conv(array.condition, rows, 1, 1, mixin_groups, false, place + " input mix-in");
    if (array.has_layer1x1)
      layer.layer1x1 = Conv(bottleneck, channels, 1, 1, layer1x1_groups, true, place + " layer1x1");
    if (array.has_head1x1)
      layer.head1x1 = Conv(bottleneck, head1x1_outputs, 1, 1, head1x1_groups, true, place + " head1x1");
    const int widths[] = {channels, rows, array.condition, rows, rows, bottleneck, channels, head1x1_outputs};
    const int *width = widths;
    for (auto &[film, name] : layer.films()) {
      const int film_channels = *width++;
      if (!has(config, name) || config[name] == false) continue;
      const std::string film_where = where + "." + name;
      if (!boolean(config[name], "active", film_where, true)) continue;
      if (film == &layer.layer1x1_post && !array.has_layer1x1)
        throw Error(film_where + " is active, but layer1x1 is not");
      if (film == &layer.head1x1_post && !array.has_head1x1)
        throw Error(film_where + " is active, but head1x1 is not");
      *film = Film(array.condition, film_channels, boolean(config[name], "shift", film_where, true),
                   groups_of(config[name], "groups", film_where), film_where);
    }
    array.layers.push_back(std::move(layer));
  }

  if (has(config, "head")) {
    const Json &head = config["head"];
    const std::string head_where = where + ".head";
    const int dilation = has(head, "head_dilation") ? int(integer(head, "head_dilation", head_where, 1, 1 << 20)) : 1;
    array.head = Conv(array.head_rows, int(integer(head, "out_channels", head_where, 1, kMaxChannels)),
                      int(integer(head, "kernel_size", head_where, 1, Conv::kMaxKernel)), dilation, 1,
                      boolean(head, "bias", head_where, false), head_where);
  } else {
    array.head = Conv(array.head_rows, int(integer(config, "head_size", where, 1, kMaxChannels)), 1, 1, 1,
                      boolean(config, "head_bias", where, false), where + ".head");
  }
  return array;
}

class WaveNet : public Net {
 public:
  WaveNet(const Json &config, Weights weights, const std::vector<int> &slim) {
    const Json &list = field(config, "layers", "config");
    if (!list.is_array() || list.empty() || int64_t(list.size()) > kMaxLayers)
      throw Error("config.layers must be a list of 1 to " + std::to_string(kMaxLayers) + " layer arrays");
    if (has(config, "in_channels")) inputs = int(integer(config, "in_channels", "config", 1, 64));
    int condition = inputs;
    if (has(config, "condition_dsp")) {
      try {
        condition_net_ = read_net(config["condition_dsp"]);
      } catch (const Error &error) {
        throw Error(std::string("in config.condition_dsp: ") + error.what());
      }
      if (condition_net_->inputs != inputs)
        throw Error("config.condition_dsp does not take the model's input channels");
      condition = condition_net_->outputs;
    }
    size_t layers = 0;
    for (size_t a = 0; a < list.size(); a++) {
      const std::string where = "config.layers[" + std::to_string(a) + "]";
      Array array = shape(list[a], where);
      const auto must_be = [&where](const char *name, int is, int should, const char *why) {
        if (is != should)
          throw Error(where + name + " is " + std::to_string(is) + ", but " + why + " " + std::to_string(should));
      };
      must_be(".condition_size", array.condition, condition, "the condition has");
      must_be(".input_size", array.inputs, a ? arrays_.back().channels : inputs,
              a ? "the array before has channels" : "the model has inputs");
      if (a)
        must_be(": what goes to the head", array.head_rows, arrays_.back().head.outputs,
                "the head of the array before gives");
      arrays_.push_back(std::move(array));
      layers += arrays_.back().layers.size();
      if (layers > size_t(kMaxLayers)) throw Error("more than " + std::to_string(kMaxLayers) + " layers");
    }
    shape_post_head(config);
    Layout trial;
    lay_out(trial);  // refuses absurd sizes before anything is read

    int64_t expected = 1;
    each_part([&expected](auto &part) { expected += part.weights(); });
    weights.expect(expected);
    cost = int64_t(layers) * kLayerCost + (condition_net_ ? condition_net_->cost : 0);
    each_part([this](auto &part) { cost += part.size(); });
    check_cost(cost);
    each_part([&weights](auto &part) { part.read(weights); });
    arrays_.back().head.scale(weights.next());
    if (!slim.empty()) slice(slim);
    for (Array &array : arrays_)
      for (Layer &layer : array.layers) {
        layer.mixed = !layer.conv_post.active() && !layer.mixin_pre.active() && !layer.mixin_post.active();
        if (layer.mixed) layer.conv.absorb(layer.mixin), macs += layer.mixin.macs();
        layer.kernel.run = kernel_for(array, layer);
        if (!layer.kernel.run) continue;
        layer.conv.tiled = layer.layer1x1.tiled = true;
        layer.conv.paired = pairs(array.channels, layer.conv.kernel, layer.conv.dilation);
      }
    each_part([](auto &part) { part.pack(); });
    for (Array &array : arrays_)
      for (Layer &layer : array.layers)
        layer.kernel = {layer.conv.kernel, layer.conv.dilation, layer.conv.paired, layer.activation.params.data(),
                        layer.conv.packed.data(), layer.conv.bias.data(), layer.layer1x1.packed.data(),
                        layer.layer1x1.bias.data(), layer.kernel.run};

    outputs = post_head_.empty() ? arrays_.back().head.outputs : post_head_.back().outputs;
    if (condition_net_) macs += condition_net_->macs;
    each_part([this](auto &part) { macs += part.macs(); });
    for (const Array &array : arrays_) {
      for (const Layer &layer : array.layers) memory += layer.conv.look();
      memory += array.head.look();
    }
    for (const Conv &conv : post_head_) memory += conv.look();
    if (condition_net_) memory = condition_net_->memory < 0 ? -1 : memory + condition_net_->memory;
  }

  void lay_out(Layout &layout) override {
    int channels = 1, rows = 1, heads = 1, conditions = 1;
    for (Array &array : arrays_) {
      channels = std::max(channels, array.channels);
      conditions = std::max(conditions, array.condition);
      heads = std::max({heads, array.head_rows, array.head.outputs});
      for (Layer &layer : array.layers) {
        rows = std::max({rows, layer.conv.outputs, layer.mixin.outputs});
        for (auto &[film, name] : layer.films()) rows = std::max(rows, film->rows());
      }
    }
    for (const Conv &conv : post_head_) heads = std::max({heads, conv.inputs, conv.outputs});
    rows = std::max({rows, channels, heads});
    if (condition_net_) condition_ = layout.rows(condition_net_->outputs), condition_net_->lay_out(layout);
    x_ = layout.rows(channels), head_ = layout.rows(heads), other_head_ = layout.rows(heads);
    z_ = layout.rows(rows), other_ = layout.rows(rows), film_ = layout.rows(rows + conditions);
    for (Array &array : arrays_) {
      for (Layer &layer : array.layers) {
        layer.past = History(array.channels, layer.conv.look(), layout);
        if (!layer.conv.paired) continue;
        layer.kept = layout.take(int64_t(array.channels) * layer.kept_stride());
        layer.phase = layout.heads.size();
        layout.heads.push_back(0);
      }
      if (array.head.kernel > 1) array.head_past = History(array.head_rows, array.head.look(), layout);
    }
    post_past_.resize(post_head_.size());
    for (size_t i = 0; i < post_head_.size(); i++)
      post_past_[i] = History(post_head_[i].inputs, post_head_[i].look(), layout);
  }

  void start(State &state) const override {
    if (condition_net_) condition_net_->start(state);
  }

  void process(State &state, const float *in, Row out, int n) const override {
    float *const base = state.data.data();
    const float *condition = in;
    if (condition_net_) {
      condition_net_->process(state, in, base + condition_, n);
      condition = base + condition_;
    }
    const float *from = in;
    float *head = base + head_, *other_head = base + other_head_;
    for (const Array &array : arrays_) {
      run(array, state, condition, from, head, from == in, n);
      const bool last = &array == &arrays_.back() && post_head_.empty();
      convolve(array.head, array.head_past, state, head, last ? out : other_head, n);
      std::swap(head, other_head);
      from = base + x_;
    }
    for (size_t i = 0; i < post_head_.size(); i++) {
      post_activation_.apply(head, kRow, post_head_[i].inputs, n);
      convolve(post_head_[i], post_past_[i], state, head, i + 1 == post_head_.size() ? out : other_head, n);
      std::swap(head, other_head);
    }
  }

 private:
  std::vector<Array> arrays_;
  std::unique_ptr<Net> condition_net_;
  std::vector<Conv> post_head_;
  ActivationSpec post_activation_;
  std::vector<History> post_past_;
  // rows of scratch in the state
  int64_t condition_ = 0, x_ = 0, head_ = 0, other_head_ = 0, z_ = 0, other_ = 0, film_ = 0;

  // Everything that has weights, in the order of the file; the last head's scale follows.
  template <class Do> void each_part(Do work) {
    for (Array &array : arrays_) {
      work(array.rechannel);
      for (Layer &layer : array.layers) {
        work(layer.conv);
        if (!layer.mixed) work(layer.mixin);
        if (array.has_layer1x1) work(layer.layer1x1);
        if (array.has_head1x1) work(layer.head1x1);
        for (auto &[film, name] : layer.films()) work(*film);
      }
      work(array.head);
    }
    for (Conv &conv : post_head_) work(conv);
  }

  // Most models have nothing but layers that a kernel of their own computes in one go.
  static decltype(WaveNetLayer::run) kernel_for(const Array &array, Layer &layer) {
    const bool plain = layer.gating == Gating::none && array.bottleneck == array.channels && array.condition == 1;
    if (!plain || !array.has_layer1x1 || array.has_head1x1) return nullptr;
    for (auto &[film, name] : layer.films())
      if (film->active()) return nullptr;
    if (layer.activation.kind == Activation::relu) {
      layer.activation.kind = Activation::leaky_relu;
      layer.activation.params.assign(size_t(array.channels), 0.f);
    }
    return kernels().wavenet_layer(array.channels, layer.conv.kernel, layer.activation.kind,
                                   pairs(array.channels, layer.conv.kernel, layer.conv.dilation));
  }

  void shape_post_head(const Json &config) {
    if (!has(config, "head")) return;
    const Json &head = config["head"];
    const int channels = int(integer(head, "channels", "config.head", 1, kMaxChannels));
    const int outs = int(integer(head, "out_channels", "config.head", 1, kMaxChannels));
    const std::vector<int> kernels = integers(head, "kernel_sizes", "config.head", 1, Conv::kMaxKernel);
    int width = arrays_.back().head.outputs;
    if (has(head, "in_channels")) integer(head, "in_channels", "config.head", width, width);
    for (size_t i = 0; i < kernels.size(); i++) {
      const int rows = i + 1 == kernels.size() ? outs : channels;
      post_head_.push_back(Conv(width, rows, kernels[i], 1, 1, true, "config.head"));
      width = channels;
    }
    const Json &activation = field(head, "activation", "config.head");
    post_activation_ = read_activation(activation, kMaxChannels, "config.head.activation");
  }

  // What an array of a slimmer model has with so many channels.
  static int slim_bottleneck(const Array &array, int channels) {
    return array.has_layer1x1 ? std::max(1, array.bottleneck * channels / array.channels) : channels;
  }
  static int slim_head_rows(const Array &array, int channels) {
    return array.has_head1x1 ? array.head_rows : slim_bottleneck(array, channels);
  }

  // The slimmer model within this one: the first channels of everything.
  void slice(const std::vector<int> &slim) {
    for (size_t a = 0; a < arrays_.size(); a++) {
      Array &array = arrays_[a];
      const bool last = a + 1 == arrays_.size();
      const int channels = slim[a], inputs_here = a ? slim[a - 1] : array.inputs;
      const int bottleneck = slim_bottleneck(array, channels);
      array.rechannel.slice(inputs_here, channels);
      for (Layer &layer : array.layers) {
        const int rows = layer.gating == Gating::none ? bottleneck : 2 * bottleneck;
        layer.conv.slice(channels, rows);
        layer.mixin.slice(layer.mixin.inputs, rows);
        if (array.has_layer1x1) layer.layer1x1.slice(bottleneck, channels);
        if (array.has_head1x1) layer.head1x1.slice(bottleneck, layer.head1x1.outputs);
        for (Film *film : {&layer.conv_post, &layer.mixin_post, &layer.activation_pre}) film->slice(rows);
        for (Film *film : {&layer.conv_pre, &layer.layer1x1_post}) film->slice(channels);
        layer.activation_post.slice(bottleneck);
      }
      array.head_rows = slim_head_rows(array, channels);
      array.head.slice(array.head_rows, last ? array.head.outputs : slim_head_rows(arrays_[a + 1], slim[a + 1]));
      array.inputs = inputs_here, array.channels = channels, array.bottleneck = bottleneck;
    }
  }

  // A convolution over scratch rows, which go through its history where it looks back.
  static void convolve(const Conv &conv, const History &past, State &state, const float *x, Row out, int n) {
    if (!past.look) return conv.apply(x, kRow, out, kRow, nullptr, 0, n);
    float *here = past.next(state);
    kernels().copy(x, kRow, here, past.stride, conv.inputs, n);
    conv.apply(here, past.stride, out, kRow, nullptr, 0, n);
    past.advance(state, n);
  }

  // From what the array before gave, through the layers; their skips are added to `head`, or begin it.
  void run(const Array &array, State &state, const float *condition, const float *from, float *head, bool first,
           int n) const {
    const Kernels &k = kernels();
    float *const base = state.data.data();
    float *const x = base + x_, *const z = base + z_, *const other = base + other_;
    float *const film = base + film_;
    const int channels = array.channels, bottleneck = array.bottleneck;
    // x is kept in the history of the layer that it goes into, except where a FiLM stands between.
    const auto place = [&](size_t l) -> std::pair<float *, ptrdiff_t> {
      if (l < array.layers.size() && !array.layers[l].conv_pre.active())
        return {array.layers[l].past.next(state), array.layers[l].past.stride};
      return {x, kRow};
    };
    auto [here, stride] = place(0);
    if (here == from) {  // it does not work in place
      kernels().copy(from, kRow, z, kRow, array.inputs, n);
      from = z;
    }
    array.rechannel.apply(from, kRow, here, stride, nullptr, 0, n);
    bool twice = false;  // whether x has been written into its history twice already
    for (size_t l = 0; l < array.layers.size(); l++) {
      const Layer &layer = array.layers[l];
      const int rows = layer.conv.outputs;
      const bool needed = l + 1 < array.layers.size() || &array != &arrays_.back();
      if (layer.kernel.run) {
        const auto [next, next_stride] = place(l + 1);
        LayerBlock block{here, stride, condition, head, first, needed ? next : nullptr, next_stride, 0,
                         n, nullptr, 0, 0};
        if (next != x) block.next_twin = array.layers[l + 1].past.twin();
        if (layer.conv.paired) {
          int &phase = state.heads[layer.phase];
          block.kept = base + layer.kept, block.kept_stride = layer.kept_stride(), block.phase = phase;
          phase += n;
          while (phase >= 2 * layer.conv.dilation) phase -= 2 * layer.conv.dilation;
        }
        layer.kernel.run(layer.kernel, block);
        first = false;
        layer.past.advance(state, n, twice);
        twice = true;
        here = next, stride = next_stride;
        continue;
      }
      const float *conv_in = here;
      if (layer.conv_pre.active()) {
        kernels().copy(x, kRow, z, kRow, channels, n);
        layer.conv_pre.apply(z, condition, film, n);
        float *history = layer.past.next(state);
        kernels().copy(z, kRow, history, layer.past.stride, channels, n);
        conv_in = history;
      }
      layer.conv.apply(conv_in, layer.past.stride, z, kRow, nullptr, 0, n, condition);
      if (!layer.mixed) {
        if (layer.conv_post.active()) layer.conv_post.apply(z, condition, film, n);
        const float *mixed_in = condition;
        if (layer.mixin_pre.active()) {
          float *modulated = film + ptrdiff_t(layer.mixin_pre.rows()) * kRow;
          kernels().copy(condition, kRow, modulated, kRow, array.condition, n);
          layer.mixin_pre.apply(modulated, condition, film, n);
          mixed_in = modulated;
        }
        layer.mixin.apply(mixed_in, kRow, other, kRow, nullptr, 0, n);
        if (layer.mixin_post.active()) layer.mixin_post.apply(other, condition, film, n);
        k.add(z, kRow, other, kRow, rows, n);
      }
      if (layer.activation_pre.active()) layer.activation_pre.apply(z, condition, film, n);
      if (layer.gating == Gating::none) {
        layer.activation.apply(z, kRow, bottleneck, n);
      } else {
        float *const gate = z + ptrdiff_t(bottleneck) * kRow;
        layer.secondary.apply(gate, kRow, bottleneck, n);
        if (layer.gating == Gating::gated) {
          layer.activation.apply(z, kRow, bottleneck, n);
          k.multiply(z, kRow, gate, kRow, bottleneck, n);
        } else {  // g·f(z) + (1 - g)·z = z + g·(f(z) - z)
          kernels().copy(z, kRow, other, kRow, bottleneck, n);
          layer.activation.apply(other, kRow, bottleneck, n);
          for (int c = 0; c < bottleneck; c++)
            for (int i = 0; i < n; i++) {
              const ptrdiff_t at = ptrdiff_t(c) * kRow + i;
              z[at] += gate[at] * (other[at] - z[at]);
            }
        }
      }
      if (layer.activation_post.active()) layer.activation_post.apply(z, condition, film, n);

      const float *skip = z;
      if (array.has_head1x1) {
        layer.head1x1.apply(z, kRow, other, kRow, nullptr, 0, n);
        if (layer.head1x1_post.active()) layer.head1x1_post.apply(other, condition, film, n);
        skip = other;
      }
      if (first) kernels().copy(skip, kRow, head, kRow, array.head_rows, n);
      else k.add(head, kRow, skip, kRow, array.head_rows, n);
      first = false;

      const auto [next, next_stride] = place(l + 1);
      if (needed && !array.has_layer1x1) {
        kernels().copy(here, stride, next, next_stride, channels, n);
        k.add(next, next_stride, z, kRow, channels, n);
      } else if (needed && layer.layer1x1_post.active()) {
        layer.layer1x1.apply(z, kRow, other, kRow, nullptr, 0, n);
        layer.layer1x1_post.apply(other, condition, film, n);
        kernels().copy(here, stride, next, next_stride, channels, n);
        k.add(next, next_stride, other, kRow, channels, n);
      } else if (needed) {
        layer.layer1x1.apply(z, kRow, next, next_stride, here, stride, n);
      }
      layer.past.advance(state, n, twice && conv_in == here);
      twice = false;
      here = next, stride = next_stride;
    }
  }
};

}  // namespace

std::unique_ptr<Net> read_wavenet(const Json &config, Weights weights, const std::vector<int> &channels) {
  return std::make_unique<WaveNet>(config, std::move(weights), channels);
}

}  // namespace neurig
