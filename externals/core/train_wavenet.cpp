// WaveNets that learn: NAM's, and the gated one of gated_wavenet.cpp. Time is cut into chunks; each goes through all
// layers while it lies in the cache. Threads stand in a row, each with some of the layers, whose past stays in its own
// cache, and hand the chunks on.
#include <algorithm>
#include <thread>

#include "activation.h"
#include "train.h"

namespace neurig {
namespace {

constexpr int kMaxKernel = 64;
constexpr int kChunk = 96;  // samples: whole tiles of every kernel
constexpr double kFarBack = 1500;  // samples by which a layer looks back that costs twice as much (measured)

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
      if (is_set(config, name)) throw Error("config." + std::string(name) + " is more than can be trained");
    if (config.contains("in_channels")) inputs = int(integer(config, "in_channels", "config", 1, 64));
    mixins = inputs + 1;
    scale = float(number(config, "head_scale", "config", -1e6, 1e6));
    const Json &list = field(config, "layers", "config");
    if (!list.is_array() || list.empty() || list.size() > 16)
      throw Error("config.layers must be a list of 1 to 16 layer arrays");
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
    array.rechannel = sized(channels, 2);
    take(array.rechannel, 0, 1, true), take_bias(array.rechannel, 1);
    for (const int dilation : dilations) {
      Layer layer;
      layer.kernel = kernel, layer.dilation = dilation;
      layer.conv = sized(array.rows, kernel * channels + 1);
      take(layer.conv, 0, kernel * channels, true), take_bias(layer.conv, kernel * channels);
      layer.out = sized(channels, channels + 1);
      take(layer.out, 0, channels, true), take_bias(layer.out, channels);
      array.layers.push_back(std::move(layer));
    }
    for (Layer &layer : array.layers) layer.skip = sized(1, channels + 1), take(layer.skip, 0, channels);
    array.head = sized(1, 2);
    array.head.at(0, 0) = Matrix::kOne;
    take_bias(array.head, 1);
    arrays.push_back(std::move(array));
    finish();
  }

 private:
  Matrix sized(int outs, int ins) {
    if (sums_ + int64_t(outs) * ins > kMaxCost) throw Error("the network is too large to be trained");
    return matrix(outs, ins);
  }

  // The next weights are those of some columns of a matrix, row by row or (`across`) column by column.
  void take(Matrix &matrix, int first, int count, bool across = false) {
    for (int o = 0; o < matrix.outs; o++)
      for (int i = 0; i < count; i++)
        matrix.at(o, first + i) = int(weights + (across ? i * matrix.outs + o : o * count + i));
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
      if (is != value)
        throw Error(where + "." + name + " is " + std::to_string(is) + ", must be " + std::to_string(value));
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
    if (is_set(config, "head1x1") && boolean(config["head1x1"], "active", where, true)) {
      to_head = true;
      array.head_rows = int(integer(config["head1x1"], "out_channels", where + ".head1x1", 1, kMaxChannels));
    }
    array.rechannel = sized(channels, before + 1);
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
      layer.conv = sized(array.rows, taps + inputs + 1);
      take_taps(layer.conv, channels, layer.kernel), take_bias(layer.conv, taps + inputs);
      take(layer.conv, taps, inputs);
      layer.out = sized(channels, channels + 1);
      take(layer.out, 0, channels), take_bias(layer.out, channels);
      if (to_head) {
        layer.skip = sized(array.head_rows, channels + 1);
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
    array.head = sized(array.head_outs, taps + 1);
    take_taps(array.head, array.head_rows, array.head_kernel);
    if (bias) take_bias(array.head, taps);
    arrays.push_back(std::move(array));
  }

  static bool is_set(const Json &object, const char *name) { return object.contains(name) && !object[name].is_null(); }

  static void check_plain(const Json &config, int channels, const std::string &where) {
    const auto refuse = [&](const std::string &name) {
      throw Error(where + "." + name + " is more than can be trained");
    };
    if (is_set(config, "bottleneck") && config["bottleneck"] != channels) refuse("bottleneck");
    for (const char *name : {"groups_input", "groups_input_mixin"})
      if (is_set(config, name) && config[name] != 1) refuse(name);
    if (is_set(config, "layer1x1") && !boolean(config["layer1x1"], "active", where + ".layer1x1", true))
      refuse("layer1x1");
    for (const char *name : {"layer1x1", "head1x1"})
      if (is_set(config, name) && config[name].contains("groups") && config[name]["groups"] != 1) refuse(name);
    for (const auto &[name, film] : config.items()) {
      const bool is_film = name.size() > 5 && name.compare(name.size() - 5, 5, "_film") == 0;
      if (is_film && film.is_object() && boolean(film, "active", where + "." + name, true)) refuse(name);
    }
  }

  static void check_activation(const Array &array, const ActivationSpec &spec, const std::string &where) {
    constexpr Activation known[] = {Activation::none,       Activation::tanh,     Activation::relu,
                                    Activation::leaky_relu, Activation::sigmoid,  Activation::hardtanh,
                                    Activation::softsign};
    const bool unit = spec.kind != Activation::hardtanh || (spec.params[0] == -1 && spec.params[1] == 1);
    const auto is_first = [&spec](float slope) { return slope == spec.params[0]; };
    const bool even = spec.kind != Activation::leaky_relu ||
                      std::all_of(spec.params.begin(), spec.params.end(), is_first);
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

// A stage of the way through the network: the rechannel of an array (layer -1), a layer, or the head.
struct Stage {
  size_t array;
  int layer;
  int64_t start, look;  // time of its first output; how far it looks back
  double cost;          // of a sample
};

// Who does which stages of which chunk, and when: in the order of the stages, and after the same stage of the chunk
// before. Backward all of this is the other way round.
class Schedule {
 public:
  Schedule(std::vector<Stage> stages) : stages_(std::move(stages)) {}
  const Stage &stage(int s) const { return stages_[size_t(s)]; }
  void lay_out(int groups, int64_t samples) {
    groups_ = groups, samples_ = samples, chunks_ = int((samples + kChunk - 1) / kChunk);
    done_ = std::make_unique<Done[]>(size_t(groups) * chunks_);
  }
  void begin() {
    for (int i = 0; i < groups_ * chunks_; i++) done_[i].stages.store(0, std::memory_order_relaxed);
  }
  // For all chunks of which this thread has stages, enter(group, begin, end), work(stage) and leave(whether it was the
  // last stage).
  template <class Enter, class Work, class Leave>
  void each(bool forward, int thread, int threads, Enter enter, Work work, Leave leave) const {
    const int count = int(stages_.size());
    for (int group = 0; group < groups_; group++)
      for (int i = 0; i < chunks_; i++) {
        const int n = forward ? i : chunks_ - 1 - i, before = forward ? n - 1 : n + 1;
        const int64_t begin = int64_t(n) * kChunk, end = std::min(samples_, begin + kChunk);
        const auto [first, last] = share(forward, group, begin, end, thread, threads);
        if (first == last) continue;
        Done &mine = done_[group * chunks_ + n];
        for (int done = forward ? first : count - last; done < (forward ? last : count - first); done++) {
          if (i) wait(done_[group * chunks_ + before], done + 1);
          if (done == (forward ? first : count - last)) wait(mine, done), enter(group, begin, end);
          work(forward ? done : count - 1 - done);
          if (done + 1 == (forward ? last : count - first)) leave(done + 1 == count);
          mine.stages.store(done + 1, std::memory_order_release);
        }
      }
  }

 private:
  struct alignas(64) Done {
    std::atomic<int> stages{0};
  };

  static void wait(const Done &other, int stages) {
    for (int tries = 0; other.stages.load(std::memory_order_acquire) < stages; tries++)
      if (tries > 1000) std::this_thread::yield();
  }

  // Whole groups where they can be dealt out evenly; else stages of about the same cost, of which early chunks have
  // fewer.
  std::pair<int, int> share(bool forward, int group, int64_t begin, int64_t end, int thread, int threads) const {
    const int count = int(stages_.size());
    if (groups_ % threads == 0) return {0, group % threads == thread ? count : 0};
    const auto samples = [begin, end](int64_t start) { return double(std::max<int64_t>(0, end - std::max(begin, start))); };
    // What lies far back has left the cache. Backward, half of the work is for the inputs, of which there are more.
    const auto cost = [&](const Stage &stage) {
      const double outputs = samples(stage.start), inputs = samples(stage.start - stage.look);
      return stage.cost * (1 + double(stage.look) / kFarBack) * (forward ? outputs : (inputs + outputs) / 2);
    };
    double total = 0, sum = 0;
    for (const Stage &stage : stages_) total += cost(stage);
    int first = count, last = count;
    for (int s = 0; s < count; s++) {
      const double here = cost(stages_[size_t(s)]);
      const int owner = std::min(threads - 1, int((sum + here / 2) / total * threads));
      if (owner >= thread) first = std::min(first, s);
      if (owner > thread) last = std::min(last, s);
      sum += here;
    }
    return {first, last};
  }

  const std::vector<Stage> stages_;
  int groups_ = 0, chunks_ = 0;
  int64_t samples_ = 0;
  std::unique_ptr<Done[]> done_;
};

class WaveNetPass : public Pass {
 public:
  explicit WaveNetPass(const WaveNet &net) : Pass(net), net_(net), k_(train_kernels()), schedule_(stages(net)) {
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
    handed_.lay_out(groups, widest_, 0, end);
    schedule_.lay_out(groups, end);
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

  void begin() override { schedule_.begin(); }

  void go_forward(int thread, int threads) override {
    const Floats active = scratch();
    Chunk chunk{};
    chunk.active_ = active.data();
    const auto enter = [&chunk](int group, int64_t begin, int64_t end) {
      chunk.group = group, chunk.begin = begin, chunk.end = end;
    };
    const auto work = [&](int s) {
      const Stage &stage = schedule_.stage(s);
      if (s == 0) read_input(chunk.group, chunk.begin, chunk.end);
      if (stage.layer < 0) rechannel_forward(stage.array, chunk);
      else if (stage.layer == int(net_.arrays[stage.array].layers.size())) head_forward(stage.array, chunk);
      else layer_forward(stage.array, size_t(stage.layer), chunk);
    };
    schedule_.each(true, thread, threads, enter, work, [](bool) {});
  }

  void go_backward(int thread, int threads, float *sums) override {
    const Floats first = scratch(), second = scratch(), active = scratch(), gradient = scratch();
    Chunk chunk{};
    chunk.active_ = active.data(), chunk.gradient_ = gradient.data(), chunk.sums = sums;
    float *handed = nullptr;  // from the thread before, and to the next
    const auto enter = [&](int group, int64_t begin, int64_t end) {
      chunk.group = group, chunk.begin = begin, chunk.end = end;
      chunk.after_ = handed = handed_.at(group, begin).x, chunk.before_ = first.data();
    };
    const auto work = [&](int s) {
      const Stage &stage = schedule_.stage(s);
      if (stage.layer < 0) rechannel_backward(stage.array, chunk);
      else if (stage.layer == int(net_.arrays[stage.array].layers.size())) head_backward(stage.array, chunk);
      else layer_backward(stage.array, size_t(stage.layer), chunk);
      // What was handed is read once, and what is to be handed written once.
      if (chunk.before_ == handed) chunk.before_ = second.data();
    };
    const auto leave = [&](bool all) {
      if (!all && chunk.after_ != handed)
        std::copy_n(chunk.after_, (chunk.end - chunk.begin) * handed_.step(), handed);
    };
    schedule_.each(false, thread, threads, enter, work, leave);
  }

  void collect(const float *sums, float *gradients) const override {
    for (const Array &array : net_.arrays) {
      for (const Matrix *matrix : {&array.rechannel, &array.head}) matrix->collect(sums, gradients);
      for (const Layer &layer : array.layers)
        for (const Matrix *matrix : {&layer.conv, &layer.out, &layer.skip}) matrix->collect(sums, gradients);
    }
  }

 private:
  // A chunk of a group, and scratch: going back, the gradients of what goes on after a layer and of what came before.
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

  // What the layers of an array look back to, by the number of the layer.
  const Signal &input(size_t a, size_t l) const { return l ? tapes_[a].layers[l - 1].next : tapes_[a].x; }

  void rechannel_forward(size_t a, const Chunk &chunk) {
    const Array &array = net_.arrays[a];
    const Tape &tape = tapes_[a];
    const Signal &from = a ? tapes_[a - 1].layers.back().next : x_;
    const int group = chunk.group;
    if (const int64_t t = std::max(chunk.begin, tape.x.start); t < chunk.end) {
      const Term terms[] = {{from.at(group, t), a ? net_.arrays[a - 1].channels : net_.inputs}, {ones(group, t), 1}};
      k_.affine(tape.x.at(group, t), array.channels, tape.rechannel.data(), {}, terms, 2, int(chunk.end - t));
    }
    if (const int64_t t = std::max(chunk.begin, array.first_sum); !a && t < chunk.end)  // zeros
      k_.affine(tape.sums.at(group, t), array.head_rows, nullptr, {}, nullptr, 0, int(chunk.end - t));
  }

  void layer_forward(size_t a, size_t l, const Chunk &chunk) {
    const Array &array = net_.arrays[a];
    const Layer &layer = array.layers[l];
    const Signal &from = input(a, l);
    const LayerTape &mine = tapes_[a].layers[l];
    const int group = chunk.group, channels = array.channels;
    const int64_t t = std::max(chunk.begin, from.start + layer.look());
    if (t >= chunk.end) return;
    const int steps = int(chunk.end - t);
    Term terms[kMaxKernel + 1];
    for (int k = 0; k < layer.kernel; k++)
      terms[k] = {from.at(group, t - int64_t(layer.kernel - 1 - k) * layer.dilation), channels};
    terms[layer.kernel] = {x_.at(group, t).channel(net_.mixed), net_.mixins};
    const Rows z = mine.z.at(group, t);
    k_.affine(z, array.rows, mine.conv.data(), {}, terms, layer.kernel + 1, steps);
    k_.activate(layer.activation, layer.slope, z, channels, steps);
    Rows active = z;
    if (array.gated) {
      k_.activate(Activation::sigmoid, 0, z.channel(channels), channels, steps);
      k_.gate(active = chunk.active(t, channels), z, channels, steps);
    }
    if (mine.next.channels) {
      const Term sum[] = {{active, channels}, {ones(group, t), 1}};
      k_.affine(mine.next.at(group, t), channels, mine.out.data(), from.at(group, t), sum, 2, steps);
    }
    if (const int64_t s = std::max(t, array.first_sum); s < chunk.end) {
      const Rows to = tapes_[a].sums.at(group, s), skip = active.at(s - t);
      const Term sum[] = {{skip, channels}, {ones(group, s), 1}};
      if (layer.skip.size()) k_.affine(to, array.head_rows, mine.skip.data(), to, sum, 2, int(chunk.end - s));
      else k_.add(to, skip, channels, int(chunk.end - s));
    }
  }

  void head_forward(size_t a, const Chunk &chunk) {
    const Array &array = net_.arrays[a];
    const Tape &tape = tapes_[a];
    const bool last = a + 1 == tapes_.size();
    const int group = chunk.group, taps = array.head_kernel;
    const int64_t t = std::max(chunk.begin, array.first_sum + array.look());
    if (t >= chunk.end) return;
    Term terms[kMaxKernel + 1];
    for (int k = 0; k < taps; k++) terms[k] = {tape.sums.at(group, t - (taps - 1 - k)), array.head_rows};
    terms[taps] = {ones(group, t), 1};
    const Signal &to = last ? y_ : tapes_[a + 1].sums;
    k_.affine(to.at(group, t), array.head_outs, tape.head.data(), {}, terms, taps + 1, int(chunk.end - t));
    if (last) write_output(group, t, chunk.end, net_.scale);
  }

  // To the sums of a matrix, from some column on: gradient ⊗ x.
  void add_gradient(const Matrix &matrix, float *sums, int column, Rows gradient, Rows x, int channels,
                    int steps) const {
    k_.outer(sums + (matrix.sums + column) * 4, matrix.ins, gradient, matrix.outs, x, channels, steps);
  }

  void head_backward(size_t a, const Chunk &chunk) {
    const Array &array = net_.arrays[a];
    Tape &tape = tapes_[a];
    const Signal &from = a + 1 == tapes_.size() ? y_ : tapes_[a + 1].gradients;
    const int taps = array.head_kernel, rows = array.head_rows, group = chunk.group;
    if (const int64_t t = std::max(chunk.begin, array.first_sum + array.look()); t < chunk.end) {
      if (a + 1 == tapes_.size()) read_gradient(group, t, chunk.end, net_.scale);
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

  void layer_backward(size_t a, size_t l, Chunk &chunk) {
    gradients_of_sums(a, l, chunk);
    gradients_of_input(a, l, chunk);
    chunk.turn();
  }

  // The gradients of a layer's sums, in place of what comes of these, and of its weights.
  void gradients_of_sums(size_t a, size_t l, const Chunk &chunk) {
    const Array &array = net_.arrays[a];
    const Layer &layer = array.layers[l];
    const Tape &tape = tapes_[a];
    const LayerTape &mine = tape.layers[l];
    const Signal &from = input(a, l);
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
  void gradients_of_input(size_t a, size_t l, const Chunk &chunk) {
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
      const Rows before = chunk.before(from, channels);
      k_.affine(before, channels, mine.conv_back.data(), add, terms, layer.kernel, int(to - from));
    };
    span(std::max(chunk.begin, start), std::min(chunk.end, middle), false);
    span(std::max({chunk.begin, start, middle}), chunk.end, true);
  }

  void rechannel_backward(size_t a, Chunk &chunk) {
    const Array &array = net_.arrays[a];
    const Tape &tape = tapes_[a];
    const int group = chunk.group;
    if (const int64_t t = std::max(chunk.begin, tape.x.start); t < chunk.end) {
      const Signal &from = a ? tapes_[a - 1].layers.back().next : x_;
      const int channels = a ? net_.arrays[a - 1].channels : net_.inputs, steps = int(chunk.end - t);
      const Rows d = chunk.after(t, array.channels);
      add_gradient(array.rechannel, chunk.sums, 0, d, from.at(group, t), channels, steps);
      add_gradient(array.rechannel, chunk.sums, channels, d, ones(group, t), 1, steps);
      const Term term{d, array.channels};
      if (a) k_.affine(chunk.before(t, channels), channels, tape.rechannel_back.data(), {}, &term, 1, steps);
    }
    chunk.turn();
  }

  Floats scratch() const { return Floats(size_t(kChunk) * widest_ * kLanes); }

  // As was measured: a multiplication and addition of a vector counts 1, a tanh 20, what goes to memory 16, and a
  // sample from or to the caller 50.
  static std::vector<Stage> stages(const WaveNet &net) {
    std::vector<Stage> made;
    int64_t time = 0;
    for (size_t a = 0; a < net.arrays.size(); a++) {
      const Array &array = net.arrays[a];
      const int c = array.channels;
      made.push_back({a, -1, time, 0, double(array.rechannel.size()) + 16 * c + (a ? 0 : 50)});
      for (size_t l = 0; l < array.layers.size(); l++) {
        const Layer &layer = array.layers[l];
        time += layer.look();
        const double sums = double(layer.conv.size() + layer.out.size() + layer.skip.size());
        made.push_back({a, int(l), time, layer.look(), sums + (20 + 16) * array.rows + 16 * c});
      }
      const double caller = a + 1 < net.arrays.size() ? 0 : 50;
      made.push_back({a, int(array.layers.size()), array.first_sum + array.look(), 0,
                      double(array.head.size()) + 16 * array.head_rows + caller});
    }
    return made;
  }

  const WaveNet &net_;
  const TrainKernels &k_;
  std::vector<Tape> tapes_;
  Schedule schedule_;
  Signal handed_;  // gradients, from one thread to the next
  int widest_ = 1;
  };

std::unique_ptr<Pass> WaveNet::pass() const { return std::make_unique<WaveNetPass>(*this); }

}  // namespace

std::unique_ptr<Learner> learn_wavenet(const Json &description) {
  auto net = std::make_unique<WaveNet>();
  if (description.contains("dilations")) net->read_gated(description);
  else net->read_nam(field(description, "config", "the description"));
  return net;
}

}  // namespace neurig
