// WaveNets that learn: NAM's, and the gated one of gated_wavenet.cpp. Time is cut into chunks; each goes through all layers
// while it lies in the cache. Threads take the chunks in turn: one may be in a layer as soon as those that it looks back
// to (going backward: ahead to) have left it there.
#include <algorithm>
#include <thread>

#include "activation.h"
#include "train.h"

namespace neurig {
namespace {

constexpr int kMaxKernel = 64;
constexpr int kChunk = 96;  // samples: whole tiles of every kernel

struct Layer {
  int kernel = 1, dilation = 1;
  Activation activation = Activation::tanh;
  float slope = 0;
  Matrix conv;  // of its taps from the oldest on, then the mix-in of the input and the bias
  Matrix out;   // 1×1, with bias
  Matrix skip;  // what goes to the head, with bias; where there is none, the activations go there as they are
  int look() const { return (kernel - 1) * dilation; }
};

struct Array {
  int channels = 1, rows = 1, head_rows = 1, head_outs = 1, head_kernel = 1;
  bool gated = false;
  Matrix rechannel, head;
  std::vector<Layer> layers;
  int64_t first_sum = 0;  // when the sums for the head begin
  int look() const { return head_kernel - 1; }
};

class WaveNet : public Learner {
 public:
  std::vector<Array> arrays;
  int mixed = 0, mixins = 1;  // channels of the input, the last of which is 1, that every layer gets: which, how many
  float scale = 1;

  std::unique_ptr<Pass> pass() const override;

  // NAM's file, without the last of its weights, the scale.
  void read_nam(const Json &config) {
    for (const char *name : {"condition_dsp", "head"})
      if (config.contains(name) && !config[name].is_null()) throw Error(std::string("a \"") + name + "\" cannot be trained");
    if (config.contains("in_channels")) inputs = int(integer(config, "in_channels", "config", 1, 64));
    mixins = inputs + 1;
    scale = float(number(config, "head_scale", "config", -1e6, 1e6));
    const Json &list = field(config, "layers", "config");
    if (!list.is_array() || list.empty() || list.size() > 16) throw Error("config.layers must be a list of 1 to 16 arrays");
    for (size_t a = 0; a < list.size(); a++) read_array(list[a], "config.layers[" + std::to_string(a) + "]");
    if (arrays.back().head_outs != 1) throw Error("the network must have one output");
    finish();
  }

  // The file of WaveNetVA, PedalNetRT and AmpEmulatorModel: [tap][in][out].
  void read_gated(const Json &file) {
    const std::string top = "the file";
    if (text(file, "activation", top) != "gated") throw Error("only the gated activation can be trained");
    const int channels = int(integer(file, "residual_channels", top, 1, kMaxChannels));
    const int kernel = int(integer(file, "filter_width", top, 1, kMaxKernel));
    const std::vector<int> dilations = integers(file, "dilations", top, 1, 1 << 20);
    Array array;
    array.channels = channels, array.rows = 2 * channels, array.gated = true;
    mixed = 1, mixins = 1;
    array.rechannel = matrix(channels, 2);
    take(array.rechannel, 0, 1, true), take_bias(array.rechannel, 1);
    for (const int dilation : dilations) {
      Layer layer;
      layer.kernel = kernel, layer.dilation = dilation;
      layer.conv = matrix(array.rows, kernel * channels + 1);
      take(layer.conv, 0, kernel * channels, true), take_bias(layer.conv, kernel * channels);
      layer.out = matrix(channels, channels + 1);
      take(layer.out, 0, channels, true), take_bias(layer.out, channels);
      array.layers.push_back(std::move(layer));
    }
    for (Layer &layer : array.layers) layer.skip = matrix(1, channels + 1), take(layer.skip, 0, channels);
    array.head = matrix(1, 2);
    array.head.at(0, 0) = Matrix::kOne;
    take_bias(array.head, 1);
    arrays.push_back(std::move(array));
    finish();
  }

 private:
  // The next weights are those of some columns of a matrix, row by row or (`across`) column by column.
  void take(Matrix &matrix, int first, int count, bool across = false) {
    for (int o = 0; o < matrix.outs; o++)
      for (int i = 0; i < count; i++) matrix.at(o, first + i) = int(weights + (across ? i * matrix.outs + o : o * count + i));
    weights += int64_t(matrix.outs) * count;
  }
  void take_bias(Matrix &matrix, int column) { take(matrix, column, 1); }
  // The taps of a convolution, [out][in][tap] in the file.
  void take_taps(Matrix &matrix, int channels, int taps) {
    for (int o = 0; o < matrix.outs; o++)
      for (int i = 0; i < channels; i++)
        for (int k = 0; k < taps; k++) matrix.at(o, k * channels + i) = int(weights + (o * channels + i) * taps + k);
    weights += int64_t(matrix.outs) * channels * taps;
  }

  void read_array(const Json &config, const std::string &where) {
    Array array;
    const auto must_be = [&](const char *name, int64_t value) {
      const int64_t is = integer(config, name, where, 1, kMaxChannels);
      if (is != value) throw Error(where + "." + name + " is " + std::to_string(is) + ", must be " + std::to_string(value));
    };
    const int before = arrays.empty() ? inputs : arrays.back().channels;
    must_be("input_size", before), must_be("condition_size", inputs);
    const int channels = array.channels = int(integer(config, "channels", where, 1, kMaxChannels));
    check_plain(config, channels, where);
    const std::vector<int> dilations = integers(config, "dilations", where, 1, 1 << 20);
    const size_t count = dilations.size();
    array.gated = config.contains("gated") && boolean(config, "gated", where, false);
    if (config.contains("gating_mode")) {
      const Json &modes = config["gating_mode"];
      const Json &mode = modes.is_array() && !modes.empty() ? modes[0] : modes;
      for (const Json &other : modes.is_array() ? modes : Json::array())
        if (other != mode) throw Error(where + ".gating_mode must be the same for all layers");
      if (mode != "none" && mode != "gated") throw Error(where + ".gating_mode must be \"none\" or \"gated\"");
      array.gated = mode == "gated";
    }
    array.rows = array.gated ? 2 * channels : channels;
    array.head_rows = channels;
    bool to_head = false;
    if (config.contains("head1x1") && !config["head1x1"].is_null() && boolean(config["head1x1"], "active", where, true)) {
      to_head = true;
      array.head_rows = int(integer(config["head1x1"], "out_channels", where + ".head1x1", 1, kMaxChannels));
    }
    array.rechannel = matrix(channels, before + 1);
    take(array.rechannel, 0, before);
    for (size_t l = 0; l < count; l++) {
      Layer layer;
      const auto each = [&](const char *name) -> const Json & {
        const Json &value = field(config, name, where);
        if (!value.is_array()) return value;
        if (value.size() != count) throw Error(where + "." + name + " must have one entry for each layer");
        return value[l];
      };
      const char *const name = config.contains("kernel_sizes") ? "kernel_sizes" : "kernel_size";
      layer.kernel = int(integer({{name, each(name)}}, name, where, 1, kMaxKernel)), layer.dilation = dilations[l];
      const ActivationSpec spec = read_activation(each("activation"), channels, where + ".activation");
      check_activation(array, spec, where);
      layer.activation = spec.kind;
      if (spec.kind == Activation::leaky_relu) layer.slope = spec.params[0];
      const int taps = layer.kernel * channels;
      layer.conv = matrix(array.rows, taps + inputs + 1);
      take_taps(layer.conv, channels, layer.kernel), take_bias(layer.conv, taps + inputs), take(layer.conv, taps, inputs);
      layer.out = matrix(channels, channels + 1);
      take(layer.out, 0, channels), take_bias(layer.out, channels);
      if (to_head) {
        layer.skip = matrix(array.head_rows, channels + 1);
        take(layer.skip, 0, channels), take_bias(layer.skip, channels);
      }
      array.layers.push_back(std::move(layer));
    }
    bool bias;
    if (config.contains("head") && !config["head"].is_null()) {
      const Json &head = config["head"];
      array.head_outs = int(integer(head, "out_channels", where + ".head", 1, kMaxChannels));
      array.head_kernel = int(integer(head, "kernel_size", where + ".head", 1, kMaxKernel));
      bias = boolean(head, "bias", where + ".head", false);
    } else {
      array.head_outs = int(integer(config, "head_size", where, 1, kMaxChannels));
      bias = boolean(config, "head_bias", where, false);
    }
    if (!arrays.empty() && arrays.back().head_outs != array.head_rows)
      throw Error(where + ": what goes to the head must be as wide as the head of the array before");
    const int taps = array.head_kernel * array.head_rows;
    array.head = matrix(array.head_outs, taps + 1);
    take_taps(array.head, array.head_rows, array.head_kernel);
    if (bias) take_bias(array.head, taps);
    arrays.push_back(std::move(array));
  }

  static void check_plain(const Json &config, int channels, const std::string &where) {
    const auto refuse = [&](const std::string &name) { throw Error(where + "." + name + " is more than can be trained"); };
    const auto is_set = [](const Json &object, const char *name) { return object.contains(name) && !object[name].is_null(); };
    if (is_set(config, "bottleneck") && config["bottleneck"] != channels) refuse("bottleneck");
    for (const char *name : {"groups_input", "groups_input_mixin"})
      if (is_set(config, name) && config[name] != 1) refuse(name);
    if (is_set(config, "layer1x1") && !boolean(config["layer1x1"], "active", where + ".layer1x1", true)) refuse("layer1x1");
    for (const char *name : {"layer1x1", "head1x1"})
      if (is_set(config, name) && config[name].value("groups", 1) != 1) refuse(name);
    for (const auto &[name, film] : config.items())
      if (name.size() > 5 && name.compare(name.size() - 5, 5, "_film") == 0 && film.is_object() && film.value("active", true))
        refuse(name);
  }

  static void check_activation(const Array &array, const ActivationSpec &spec, const std::string &where) {
    constexpr Activation known[] = {Activation::none,       Activation::tanh,     Activation::relu,    Activation::sigmoid,
                                    Activation::leaky_relu, Activation::hardtanh, Activation::softsign};
    const bool unit = spec.kind != Activation::hardtanh || (spec.params[0] == -1 && spec.params[1] == 1);
    const bool even = spec.kind != Activation::leaky_relu ||
                      std::all_of(spec.params.begin(), spec.params.end(), [&](float slope) { return slope == spec.params[0]; });
    if (std::find(std::begin(known), std::end(known), spec.kind) == std::end(known) || !unit || !even ||
        (array.gated && spec.kind != Activation::tanh))
      throw Error(where + ".activation is more than can be trained");
  }

  void finish() {
    for (const Array &array : arrays) {
      receptive_field += array.look();
      for (const Layer &layer : array.layers) receptive_field += layer.look();
    }
    int64_t first = receptive_field - 1;
    for (size_t a = arrays.size(); a-- > 0;) first = arrays[a].first_sum = first - arrays[a].look();
    if (receptive_field > (1 << 24)) throw Error("the receptive field is too large");
  }
};

// Chunks of all groups, and how far each is. A stage is a rechannel, a layer, or a head.
class Chunks {
 public:
  void lay_out(int groups, int64_t samples) {
    groups_ = groups, each_ = int((samples + kChunk - 1) / kChunk);
    progress_ = std::make_unique<std::atomic<int>[]>(size_t(groups) * each_);
  }
  void begin() {
    for (int i = 0; i < groups_ * each_; i++) progress_[i].store(0, std::memory_order_relaxed);
  }
  // work(group, number of the chunk) for all that are this thread's, in order. Whole groups where these can be dealt out.
  template <class Work> void each(int thread, int threads, Work work) const {
    const bool whole = groups_ % threads == 0;
    for (int group = 0; group < groups_; group++)
      for (int n = 0; n < each_; n++)
        if ((whole ? group : group * each_ + n) % threads == thread) work(group, n);
  }
  int count() const { return each_; }
  void done(int group, int n, int stages) { progress_[group * each_ + n].store(stages, std::memory_order_release); }
  // Until the chunks before this one, as far as other threads may be at them, have done so many stages.
  void wait(int group, int n, int stages, int threads) const {
    for (int before = n - 1; before >= 0 && before > n - threads; before--)
      for (int tries = 0; progress_[group * each_ + before].load(std::memory_order_acquire) < stages; tries++)
        if (tries > 1000) std::this_thread::yield();
  }

 private:
  int groups_ = 0, each_ = 0;
  std::unique_ptr<std::atomic<int>[]> progress_;
};

class WaveNetPass : public Pass {
 public:
  explicit WaveNetPass(const WaveNet &net) : Pass(net), net_(net), k_(train_kernels()) {
    for (const Array &array : net.arrays) {
      widest_ = std::max(widest_, array.channels);
      Tape tape;
      tape.rechannel = Floats(array.rechannel.size()), tape.rechannel_back = Floats(array.rechannel.size());
      tape.head = Floats(array.head.size()), tape.head_back = Floats(array.head.size());
      tape.layers.resize(array.layers.size());
      for (size_t l = 0; l < array.layers.size(); l++) {
        const Layer &layer = array.layers[l];
        LayerTape &mine = tape.layers[l];
        mine.conv = Floats(layer.conv.size()), mine.conv_back = Floats(layer.conv.size());
        mine.out = Floats(layer.out.size()), mine.out_back = Floats(layer.out.size());
        mine.skip = Floats(layer.skip.size()), mine.skip_back = Floats(layer.skip.size());
      }
      tapes_.push_back(std::move(tape));
    }
  }

 protected:
  void lay_out() override {
    const int groups = batch_.groups();
    const int64_t end = batch_.samples;
    const int last = net_.arrays.back().look();
    int64_t time = 0;
    for (size_t a = 0; a < tapes_.size(); a++) {
      const Array &array = net_.arrays[a];
      Tape &tape = tapes_[a];
      // Going back, a convolution takes what is before the first and after the last gradient: zeros.
      const int before = a ? net_.arrays[a - 1].look() : 0;
      tape.sums.lay_out(groups, array.head_rows, array.first_sum, end);
      tape.gradients.lay_out(groups, array.head_rows, array.first_sum - before, end + before);
      tape.x.lay_out(groups, array.channels, time, end);
      for (size_t l = 0; l < array.layers.size(); l++) {
        const int look = array.layers[l].look();
        tape.layers[l].z.lay_out(groups, array.rows, time, end + look);
        time += look;
        if (l + 1 < array.layers.size() || a + 1 < tapes_.size())
          tape.layers[l].next.lay_out(groups, array.channels, time, end);
      }
    }
    y_.lay_out(groups, 1, learner_.receptive_field - 1 - last, end + last);
    chunks_.lay_out(groups, end);
  }

  void pack(const float *weights) override {
    for (size_t a = 0; a < tapes_.size(); a++) {
      const Array &array = net_.arrays[a];
      Tape &tape = tapes_[a];
      array.rechannel.pack(weights, tape.rechannel.data());
      if (a) array.rechannel.pack_transposed(weights, tape.rechannel_back.data(), net_.arrays[a - 1].channels);
      array.head.pack(weights, tape.head.data());
      array.head.pack_transposed(weights, tape.head_back.data(), array.head_rows, array.head_kernel);
      for (size_t l = 0; l < array.layers.size(); l++) {
        const Layer &layer = array.layers[l];
        LayerTape &mine = tape.layers[l];
        layer.conv.pack(weights, mine.conv.data());
        layer.conv.pack_transposed(weights, mine.conv_back.data(), array.channels, layer.kernel);
        layer.out.pack(weights, mine.out.data());
        layer.out.pack_transposed(weights, mine.out_back.data(), array.channels);
        if (!layer.skip.size()) continue;
        layer.skip.pack(weights, mine.skip.data());
        layer.skip.pack_transposed(weights, mine.skip_back.data(), array.channels);
      }
    }
  }

  void begin() override { chunks_.begin(); }

  void go_forward(int thread, int threads) override {
    const Floats active = scratch();
    chunks_.each(thread, threads, [&](int group, int n) {
      const int64_t begin = int64_t(n) * kChunk, end = std::min(batch_.samples, begin + kChunk);
      read_input(group, begin, end);
      int stage = 0;
      const Signal *from = &x_;
      for (size_t a = 0; a < tapes_.size(); a++) {
        const Array &array = net_.arrays[a];
        Tape &tape = tapes_[a];
        if (const int64_t t = std::max(begin, tape.x.start); t < end) {
          const Term terms[] = {{from->at(group, t), a ? net_.arrays[a - 1].channels : net_.inputs}, {ones(group, t), 1}};
          k_.affine(tape.x.at(group, t), array.channels, tape.rechannel.data(), {}, terms, 2, int(end - t));
        }
        const int64_t summed = std::max(begin, array.first_sum);
        if (!a && summed < end) k_.affine(tape.sums.at(group, summed), array.head_rows, nullptr, {}, nullptr, 0, int(end - summed));
        chunks_.done(group, n, ++stage);
        from = &tape.x;
        for (size_t l = 0; l < array.layers.size(); l++) {
          chunks_.wait(group, n, stage, threads);
          layer_forward(array, tape, l, *from, group, begin, end, active.data());
          from = &tape.layers[l].next;
          chunks_.done(group, n, ++stage);
        }
        chunks_.wait(group, n, stage, threads);
        if (const int64_t t = std::max(begin, array.first_sum + array.look()); t < end) {
          const bool last = a + 1 == tapes_.size();
          const Signal &to = last ? y_ : tapes_[a + 1].sums;
          Term terms[kMaxKernel + 1];
          for (int k = 0; k < array.head_kernel; k++)
            terms[k] = {tape.sums.at(group, t - (array.head_kernel - 1 - k)), array.head_rows};
          terms[array.head_kernel] = {ones(group, t), 1};
          k_.affine(to.at(group, t), array.head_outs, tape.head.data(), {}, terms, array.head_kernel + 1, int(end - t));
          if (last) write_output(group, t, end, net_.scale);
        }
        chunks_.done(group, n, ++stage);
      }
    });
  }

  void go_backward(int thread, int threads, float *sums) override {
    const Floats first = scratch(), second = scratch(), active = scratch(), gradient = scratch();
    chunks_.each(thread, threads, [&](int group, int n) {
      const int64_t begin = int64_t(chunks_.count() - 1 - n) * kChunk, end = std::min(batch_.samples, begin + kChunk);
      Chunk chunk{group, begin, end, first.data(), second.data(), active.data(), gradient.data(), sums};
      if (const int64_t t = std::max(begin, learner_.receptive_field - 1); t < end)
        read_gradient(group, t, end, net_.scale);
      int stage = 1;
      chunks_.done(group, n, stage);
      for (size_t a = tapes_.size(); a-- > 0;) {
        const Array &array = net_.arrays[a];
        Tape &tape = tapes_[a];
        chunks_.wait(group, n, stage, threads);
        head_backward(a, chunk);
        chunks_.done(group, n, ++stage);
        for (size_t l = array.layers.size(); l-- > 0;) {
          layer_backward_here(a, l, chunk);
          chunks_.done(group, n, ++stage);
          chunks_.wait(group, n, stage, threads);
          layer_backward_before(a, l, chunk);
        }
        if (const int64_t t = std::max(begin, tape.x.start); t < end) {
          const Signal &from = a ? tapes_[a - 1].layers.back().next : x_;
          const int channels = a ? net_.arrays[a - 1].channels : net_.inputs, steps = int(end - t);
          const Rows d = chunk.after(t, array.channels);
          add_gradient(array.rechannel, sums, 0, d, from.at(group, t), channels, steps);
          add_gradient(array.rechannel, sums, channels, d, ones(group, t), 1, steps);
          const Term term{d, array.channels};
          if (a) k_.affine(chunk.before(t, channels), channels, tape.rechannel_back.data(), {}, &term, 1, steps);
          chunk.turn();
        }
        chunks_.done(group, n, ++stage);
      }
    });
  }

  void collect(const float *sums, float *gradients) const override {
    for (const Array &array : net_.arrays) {
      for (const Matrix *matrix : {&array.rechannel, &array.head}) matrix->collect(sums, gradients);
      for (const Layer &layer : array.layers)
        for (const Matrix *matrix : {&layer.conv, &layer.out, &layer.skip}) matrix->collect(sums, gradients);
    }
  }

 private:
  struct LayerTape {
    Signal z;     // f of it, both halves where there are gates; going back, its gradient
    Signal next;  // what goes on to the next layer
    Floats conv, out, skip, conv_back, out_back, skip_back;
  };
  struct Tape {
    Signal x, sums, gradients;  // what goes to the first layer; for the head, and the gradients of these
    Floats rechannel, head, rechannel_back, head_back;
    std::vector<LayerTape> layers;
  };

  // Going back through a chunk: the gradients of what goes on after a layer and of what came before it, and two more.
  struct Chunk {
    int group;
    int64_t begin, end;
    float *after_, *before_, *active_, *gradient_;
    float *sums;
    Rows rows(float *x, int64_t time, int channels) const {
      return Rows{x, ptrdiff_t(channels) * kLanes}.at(time - begin);
    }
    Rows after(int64_t time, int channels) const { return rows(after_, time, channels); }
    Rows before(int64_t time, int channels) const { return rows(before_, time, channels); }
    Rows active(int64_t time, int channels) const { return rows(active_, time, channels); }
    Rows gradient(int64_t time, int channels) const { return rows(gradient_, time, channels); }
    void turn() { std::swap(after_, before_); }
  };

  // To the sums of a matrix, from some column on: gradient ⊗ x.
  void add_gradient(const Matrix &matrix, float *sums, int column, Rows gradient, Rows x, int channels, int steps) const {
    k_.outer(sums + (matrix.sums + column) * 4, matrix.ins, gradient, matrix.outs, x, channels, steps);
  }

  void head_backward(size_t a, const Chunk &chunk) {
    const Array &array = net_.arrays[a];
    Tape &tape = tapes_[a];
    const Signal &from = a + 1 == tapes_.size() ? y_ : tapes_[a + 1].gradients;
    const int taps = array.head_kernel, rows = array.head_rows, group = chunk.group;
    if (const int64_t t = std::max(chunk.begin, array.first_sum + array.look()); t < chunk.end) {
      const Rows d = from.at(group, t);
      const int steps = int(chunk.end - t);
      for (int k = 0; k < taps; k++)
        add_gradient(array.head, chunk.sums, k * rows, d, tape.sums.at(group, t - (taps - 1 - k)), rows, steps);
      add_gradient(array.head, chunk.sums, taps * rows, d, ones(group, t), 1, steps);
    }
    if (const int64_t t = std::max(chunk.begin, array.first_sum); t < chunk.end) {
      Term terms[kMaxKernel];
      for (int k = 0; k < taps; k++) terms[k] = {from.at(group, t + taps - 1 - k), array.head_outs};
      k_.affine(tape.gradients.at(group, t), rows, tape.head_back.data(), {}, terms, taps, int(chunk.end - t));
    }
  }

  // What needs nothing of later chunks: the gradients of a layer's sums, and of its weights.
  void layer_backward_here(size_t a, size_t l, Chunk &chunk) {
    const Array &array = net_.arrays[a];
    const Layer &layer = array.layers[l];
    Tape &tape = tapes_[a];
    LayerTape &mine = tape.layers[l];
    const Signal &from = l ? tape.layers[l - 1].next : tape.x;
    const int channels = array.channels, group = chunk.group;
    const int64_t t = std::max(chunk.begin, from.start + layer.look());
    if (t >= chunk.end) return;
    const int steps = int(chunk.end - t);
    const Rows z = mine.z.at(group, t);
    Rows active = z;
    if (array.gated) k_.gate(active = chunk.active(t, channels), z, channels, steps);
    // The gradient of the activations: from what goes on, and from the head.
    const Rows gradient = chunk.gradient(t, channels);
    const bool goes_on = mine.next.channels > 0;
    if (goes_on) {
      const Rows after = chunk.after(t, channels);
      add_gradient(layer.out, chunk.sums, 0, after, active, channels, steps);
      add_gradient(layer.out, chunk.sums, channels, after, ones(group, t), 1, steps);
      const Term term{after, channels};
      k_.affine(gradient, channels, mine.out_back.data(), {}, &term, 1, steps);
    } else {
      k_.affine(gradient, channels, nullptr, {}, nullptr, 0, steps);  // zeros
    }
    if (const int64_t s = std::max(t, array.first_sum); s < chunk.end) {
      const int summed = int(chunk.end - s);
      const Rows to = gradient.at(s - t), skip = tape.gradients.at(group, s);
      if (layer.skip.size()) {
        add_gradient(layer.skip, chunk.sums, 0, skip, active.at(s - t), channels, summed);
        add_gradient(layer.skip, chunk.sums, channels, skip, ones(group, s), 1, summed);
        const Term term{skip, array.head_rows};
        k_.affine(to, channels, mine.skip_back.data(), to, &term, 1, summed);
      } else {
        k_.add(to, skip, channels, summed);
      }
    }
    if (array.gated) k_.derive_gate(z, gradient, channels, steps);
    else k_.derive(layer.activation, layer.slope, z, gradient, channels, steps);
    for (int k = 0; k < layer.kernel; k++) {
      const Rows x = from.at(group, t - int64_t(layer.kernel - 1 - k) * layer.dilation);
      add_gradient(layer.conv, chunk.sums, k * channels, z, x, channels, steps);
    }
    const Rows mixed = x_.at(group, t).channel(net_.mixed);
    add_gradient(layer.conv, chunk.sums, layer.kernel * channels, z, mixed, net_.mixins, steps);
  }

  // The gradient of what came into a layer: where something came out at the same time, it was also added to that.
  void layer_backward_before(size_t a, size_t l, Chunk &chunk) {
    const Array &array = net_.arrays[a];
    const Layer &layer = array.layers[l];
    const LayerTape &mine = tapes_[a].layers[l];
    const int channels = array.channels;
    const int64_t start = mine.z.start, middle = mine.next.channels ? start + layer.look() : chunk.end;
    const auto span = [&](int64_t from, int64_t to, bool added) {
      if (from >= to) return;
      Term terms[kMaxKernel];
      for (int k = 0; k < layer.kernel; k++)
        terms[k] = {mine.z.at(chunk.group, from + int64_t(layer.kernel - 1 - k) * layer.dilation), array.rows};
      const Rows add = added ? chunk.after(from, channels) : Rows{};
      k_.affine(chunk.before(from, channels), channels, mine.conv_back.data(), add, terms, layer.kernel, int(to - from));
    };
    span(std::max(chunk.begin, start), std::min(chunk.end, middle), false);
    span(std::max({chunk.begin, start, middle}), chunk.end, true);
    chunk.turn();
  }

  Floats scratch() const { return Floats(size_t(kChunk) * widest_ * kLanes); }

  void layer_forward(const Array &array, Tape &tape, size_t l, const Signal &from, int group, int64_t begin, int64_t end,
                     float *active) {
    const Layer &layer = array.layers[l];
    LayerTape &mine = tape.layers[l];
    const int64_t t = std::max(begin, from.start + layer.look());
    if (t >= end) return;
    const int steps = int(end - t), channels = array.channels;
    Term terms[kMaxKernel + 1];
    for (int k = 0; k < layer.kernel; k++) terms[k] = {from.at(group, t - int64_t(layer.kernel - 1 - k) * layer.dilation), channels};
    terms[layer.kernel] = {x_.at(group, t).channel(net_.mixed), net_.mixins};
    const Rows z = mine.z.at(group, t);
    k_.affine(z, array.rows, mine.conv.data(), {}, terms, layer.kernel + 1, steps);
    k_.activate(layer.activation, layer.slope, z, channels, steps);
    Rows a = z;
    if (array.gated) {
      k_.activate(Activation::sigmoid, 0, z.channel(channels), channels, steps);
      a = {active, ptrdiff_t(channels) * kLanes};
      k_.gate(a, z, channels, steps);
    }
    if (mine.next.channels) {
      const Term sum[] = {{a, channels}, {ones(group, t), 1}};
      k_.affine(mine.next.at(group, t), channels, mine.out.data(), from.at(group, t), sum, 2, steps);
    }
    if (const int64_t s = std::max(t, array.first_sum); s < end) {
      const Rows to = tape.sums.at(group, s), skip = a.at(s - t);
      const Term sum[] = {{skip, channels}, {ones(group, s), 1}};
      if (layer.skip.size()) k_.affine(to, array.head_rows, mine.skip.data(), to, sum, 2, int(end - s));
      else k_.add(to, skip, channels, int(end - s));
    }
  }

  const WaveNet &net_;
  const TrainKernels &k_;
  std::vector<Tape> tapes_;
  Chunks chunks_;
  int widest_ = 1;
  };

std::unique_ptr<Pass> WaveNet::pass() const { return std::make_unique<WaveNetPass>(*this); }

}  // namespace

std::unique_ptr<Learner> learn_wavenet(const Json &description) {
  auto net = std::make_unique<WaveNet>();
  if (description.contains("dilations")) net->read_gated(description);
  else if (description.value("architecture", "") == "WaveNet") net->read_nam(field(description, "config", "the description"));
  else throw Error("there is no such architecture to train");
  return net;
}

}  // namespace neurig
