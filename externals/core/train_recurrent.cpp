// LSTM and GRU that learn, by back-propagation through time as far as the batch is long. The equations are those of
// recurrent.h. A thread takes groups of lanes, and these go through time together: a weight serves them all.
#include <algorithm>

#include "recurrent.h"
#include "train.h"

namespace neurig {
namespace {

constexpr int kChunk = 96;  // samples that go together where time does not matter

struct Layer {
  int inputs = 1;
  Matrix from_x;  // to the gates, with bias; of a GRU z r n
  Matrix from_h;  // of a GRU with bias
};

class Recurrent : public Learner {
 public:
  Cell cell = Cell::lstm;
  int units = 1;
  std::vector<Layer> layers;
  Matrix head;  // with bias
  bool lstm() const { return cell == Cell::lstm; }
  int gates() const { return lstm() ? 4 : 3; }

  std::unique_ptr<Pass> pass() const override;

  explicit Recurrent(const Json &description) {
    cell = description["architecture"] == "LSTM" ? Cell::lstm : Cell::gru;
    const Json &config = field(description, "config", "the description");
    inputs = int(integer(config, "input_size", "config", 1, 64));
    units = int(integer(config, "hidden_size", "config", 1, kMaxChannels));
    const int count = int(integer(config, "num_layers", "config", 1, 64)), rows = gates() * units;
    if (int64_t(count) * rows * (2 * units + inputs + 2) > kMaxCost)
      throw Error("the network is too large to be trained");
    for (int l = 0; l < count; l++) {
      Layer layer;
      layer.inputs = l ? units : inputs;
      const int ins = layer.inputs;
      layer.from_x = matrix(rows, ins + 1), layer.from_h = matrix(rows, units + (lstm() ? 0 : 1));
      if (lstm()) {  // NAM's file: [gate and unit][input and unit], then the bias
        for (int o = 0; o < rows; o++) {
          for (int i = 0; i < ins; i++) layer.from_x.at(o, i) = next();
          for (int i = 0; i < units; i++) layer.from_h.at(o, i) = next();
        }
        for (int o = 0; o < rows; o++) layer.from_x.at(o, ins) = next();
      } else {  // Keras's: [input][gate and unit], [unit][…], and a bias for each of the two
        for (int i = 0; i < ins; i++)
          for (int o = 0; o < rows; o++) layer.from_x.at(o, i) = next();
        for (int i = 0; i < units; i++)
          for (int o = 0; o < rows; o++) layer.from_h.at(o, i) = next();
        for (int o = 0; o < rows; o++) layer.from_x.at(o, ins) = next();
        for (int o = 0; o < rows; o++) layer.from_h.at(o, units) = next();
      }
      layers.push_back(std::move(layer));
    }
    head = matrix(1, units + 1);
    for (int i = 0; i <= units; i++) head.at(0, i) = next();
    state = int64_t(count) * units * (lstm() ? 2 : 1);
  }

 private:
  int next() { return int(weights++); }
};

class RecurrentPass : public Pass {
 public:
  explicit RecurrentPass(const Recurrent &net) : Pass(net), net_(net), k_(train_kernels()), tapes_(net.layers.size()) {
    head_ = Floats(net.head.size()), head_back_ = Floats(net.head.size());
    for (size_t l = 0; l < tapes_.size(); l++) {
      const Layer &layer = net.layers[l];
      Tape &tape = tapes_[l];
      tape.from_x = Floats(layer.from_x.size()), tape.from_x_back = Floats(layer.from_x.size());
      tape.from_h = Floats(layer.from_h.size()), tape.from_h_back = Floats(layer.from_h.size());
    }
  }

 protected:
  void lay_out() override {
    const int groups = batch_.groups(), units = net_.units;
    const int64_t end = batch_.samples;
    for (Tape &tape : tapes_) {
      tape.z.lay_out(groups, 4 * units, 0, end);
      tape.h.lay_out(groups, units, -1, end);
      if (net_.lstm()) tape.c.lay_out(groups, units, -1, end);
    }
    y_.lay_out(groups, 1, 0, end);
    gradients_.lay_out(groups, units, 0, end);
  }

  void pack(const float *weights) override {
    const int tile = k_.tile, units = net_.units, rows = net_.gates() * units;
    net_.head.pack(weights, head_.data());
    net_.head.pack_transposed(weights, head_back_.data(), units);
    for (size_t l = 0; l < tapes_.size(); l++) {
      const Layer &layer = net_.layers[l];
      Tape &tape = tapes_[l];
      layer.from_x.pack(weights, tape.from_x.data());
      layer.from_x.pack_transposed(weights, tape.from_x_back.data(), layer.inputs);
      layer.from_h.pack_transposed(weights, tape.from_h_back.data(), units);
      // Of a GRU z and r by themselves, and then n.
      const int first = net_.lstm() ? rows : 2 * units, ins = layer.from_h.ins;
      const auto weight = [&](int o, int i) { return layer.from_h.value(weights, o, i); };
      pack_tiles(tape.from_h.data(), first, ins, tile, weight);
      const auto rest = [&](int o, int i) { return weight(first + o, i); };
      pack_tiles(tape.from_h.data() + first * ins, rows - first, ins, tile, rest);
    }
  }

  // [signal][layer][h, c][unit]
  void read_state(const float *state) override {
    each_state([&](int64_t at, float &x, bool padding) { x = state && !padding ? state[at] : 0.f; }, -1);
  }
  void write_state(float *state) override {
    each_state([&](int64_t at, float &x, bool padding) {
      if (!padding) state[at] = x;
    }, batch_.samples - 1);
  }

  void go_forward(int thread, int threads) override {
    const auto [first, count] = share(thread, threads);
    if (!count) return;
    const int units = net_.units, gates = net_.gates();
    const int64_t end = batch_.samples;
    each_chunk(first, count, [&](int group, int64_t t, int) { read_input(group, t, std::min(end, t + kChunk)); });
    for (size_t l = 0; l < tapes_.size(); l++) {
      Tape &tape = tapes_[l];
      const Layer &layer = net_.layers[l];
      each_chunk(first, count, [&](int group, int64_t t, int steps) {
        const Term terms[] = {{below(l, group, t), layer.inputs}, {ones(group, t), 1}};
        k_.affine(tape.z.at(group, t), gates * units, tape.from_x.data(), {}, terms, 2, steps);
      });
      for (int64_t t = 0; t < end; t++) {
        const Rows z = tape.z.across(first, t), h = tape.h.across(first, t - 1), next = tape.h.across(first, t);
        const Term terms[] = {{h, units}, {{ones(first, t).x, x_.group_step()}, 1}};
        if (net_.lstm()) {
          k_.affine(z, 4 * units, tape.from_h.data(), z, terms, 1, count);
          k_.lstm(z, tape.c.across(first, t - 1), tape.c.across(first, t), next, units, count);
        } else {
          k_.affine(z, 2 * units, tape.from_h.data(), z, terms, 2, count);
          const float *const to_n = tape.from_h.data() + 2 * units * layer.from_h.ins;
          k_.affine(z.channel(3 * units), units, to_n, {}, terms, 2, count);
          k_.gru(z, h, next, units, count);
        }
      }
    }
    each_chunk(first, count, [&](int group, int64_t t, int steps) {
      const Term terms[] = {{tapes_.back().h.at(group, t), units}, {ones(group, t), 1}};
      k_.affine(y_.at(group, t), 1, head_.data(), {}, terms, 2, steps);
      write_output(group, t, t + steps, 1);
    });
  }

  void go_backward(int thread, int threads, float *sums) override {
    const auto [first, count] = share(thread, threads);
    if (!count) return;
    const int units = net_.units, gates = net_.gates(), kept = 3 * units;  // where a GRU keeps what h gives to n
    each_chunk(first, count, [&](int group, int64_t t, int steps) {
      read_gradient(group, t, t + steps, 1);
      const Rows d = y_.at(group, t);
      add_gradient(net_.head, sums, 0, 0, 1, d, tapes_.back().h.at(group, t), units, steps);
      add_gradient(net_.head, sums, 0, units, 1, d, ones(group, t), 1, steps);
      const Term term{d, 1};
      k_.affine(gradients_.at(group, t), units, head_back_.data(), {}, &term, 1, steps);
    });
    const size_t width = size_t(units) * kLanes;
    for (size_t l = tapes_.size(); l-- > 0;) {
      Tape &tape = tapes_[l];
      const Layer &layer = net_.layers[l];
      const Floats carried_h(width * count), carried_c(width * count);
      const Rows dh{carried_h.data(), ptrdiff_t(width)}, dc{carried_c.data(), ptrdiff_t(width)};
      for (int64_t t = batch_.samples - 1; t >= 0; t--) {
        const Rows z = tape.z.across(first, t), before = tape.h.across(first, t - 1);
        k_.add(dh, gradients_.across(first, t), units, count);
        if (net_.lstm()) {
          k_.derive_lstm(z, tape.c.across(first, t - 1), tape.c.across(first, t), dh, dc, units, count);
          const Term term{z, 4 * units};
          k_.affine(dh, units, tape.from_h_back.data(), {}, &term, 1, count);
        } else {
          k_.derive_gru(z, before, dh, units, count);
          const Term terms[] = {{z, 2 * units}, {z.channel(kept), units}};
          k_.affine(dh, units, tape.from_h_back.data(), dh, terms, 2, count);
        }
      }
      each_chunk(first, count, [&](int group, int64_t t, int steps) {
        const Rows z = tape.z.at(group, t), h = tape.h.at(group, t - 1), one = ones(group, t);
        add_gradient(layer.from_x, sums, 0, 0, gates * units, z, below(l, group, t), layer.inputs, steps);
        add_gradient(layer.from_x, sums, 0, layer.inputs, gates * units, z, one, 1, steps);
        if (net_.lstm()) {
          add_gradient(layer.from_h, sums, 0, 0, 4 * units, z, h, units, steps);
        } else {
          add_gradient(layer.from_h, sums, 0, 0, 2 * units, z, h, units, steps);
          add_gradient(layer.from_h, sums, 0, units, 2 * units, z, one, 1, steps);
          add_gradient(layer.from_h, sums, 2 * units, 0, units, z.channel(kept), h, units, steps);
          add_gradient(layer.from_h, sums, 2 * units, units, units, z.channel(kept), one, 1, steps);
        }
        const Term term{z, gates * units};
        if (l) k_.affine(gradients_.at(group, t), units, tape.from_x_back.data(), {}, &term, 1, steps);
      });
    }
  }

  void collect(const float *sums, float *gradients) const override {
    net_.head.collect(sums, gradients);
    for (const Layer &layer : net_.layers) layer.from_x.collect(sums, gradients), layer.from_h.collect(sums, gradients);
  }

 private:
  struct Tape {
    Signal z, h, c;
    Floats from_x, from_h, from_x_back, from_h_back;
  };

  // The groups of a thread: which is the first, and how many.
  std::pair<int, int> share(int thread, int threads) const {
    const int groups = batch_.groups(), first = groups * thread / threads;
    return {first, groups * (thread + 1) / threads - first};
  }
  template <class Work> void each_chunk(int first, int count, Work work) const {
    for (int group = first; group < first + count; group++)
      for (int64_t t = 0; t < batch_.samples; t += kChunk)
        work(group, t, int(std::min<int64_t>(kChunk, batch_.samples - t)));
  }
  // What goes into a layer.
  Rows below(size_t l, int group, int64_t t) const { return l ? tapes_[l - 1].h.at(group, t) : x_.at(group, t); }

  template <class Work> void each_state(Work work, int64_t time) {
    for (int group = 0; group < batch_.groups(); group++)
      for (int lane = 0; lane < kLanes; lane++) {
        int64_t at = int64_t(group * kLanes + lane) * net_.state;
        for (Tape &tape : tapes_)
          for (const Signal *signal : {&tape.h, &tape.c})
            for (int u = 0; u < signal->channels; u++)
              work(at++, signal->at(group, time).channel(u).x[lane], lane >= batch_.lanes(group));
      }
  }

  // To some rows of a matrix's sums, from some column on: gradient ⊗ x.
  void add_gradient(const Matrix &matrix, float *sums, int row, int column, int rows, Rows gradient, Rows x,
                    int channels, int steps) const {
    float *const to = sums + (matrix.sums + int64_t(row) * matrix.ins + column) * 4;
    k_.outer(to, matrix.ins, gradient, rows, x, channels, steps);
  }

  const Recurrent &net_;
  const TrainKernels &k_;
  std::vector<Tape> tapes_;
  Signal gradients_;  // of what comes out of a layer
  Floats head_, head_back_;
};

std::unique_ptr<Pass> Recurrent::pass() const { return std::make_unique<RecurrentPass>(*this); }

}  // namespace

std::unique_ptr<Learner> learn_recurrent(const Json &description) { return std::make_unique<Recurrent>(description); }

}  // namespace neurig
