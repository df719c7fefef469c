// Training: networks run forward and backward for a batch of signals, in the layout of train_kernels.h.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "json.h"
#include "model.h"
#include "train_kernels.h"

namespace neurig {

// A matrix whose entries are weights of the flat vector, wherever they lie in it.
class Matrix {
 public:
  static constexpr int kZero = -1, kOne = -2;  // entries that are no weights
  Matrix() = default;
  Matrix(int outs, int ins) : outs(outs), ins(ins), index_(size_t(outs) * ins, kZero) {}
  int outs = 0, ins = 0;
  int &at(int o, int i) { return index_[size_t(o) * ins + i]; }
  float value(const float *weights, int o, int i) const {
    const int index = index_[size_t(o) * ins + i];
    return index >= 0 ? weights[index] : index == kOne ? 1.f : 0.f;
  }

  // For affine: this matrix, and its first `taps` blocks of so many columns, each transposed.
  void pack(const float *weights, float *packed) const {
    pack_tiles(packed, outs, ins, train_kernels().tile, [&](int o, int i) { return value(weights, o, i); });
  }
  void pack_transposed(const float *weights, float *packed, int channels, int taps = 1) const {
    pack_tiles(packed, channels, taps * outs, train_kernels().tile,
               [&](int o, int i) { return value(weights, i % outs, i / outs * channels + o); });
  }
  size_t size() const { return index_.size(); }

  // Where its sums of gradients are, among those of all (four floats each).
  int64_t sums = 0;
  void collect(const float *all, float *gradients) const {
    const float *from = all + sums * 4;
    for (const int index : index_) {
      if (index >= 0) gradients[index] += (from[0] + from[1]) + (from[2] + from[3]);
      from += 4;
    }
  }

 private:
  std::vector<int> index_;
};

// What a batch looks like.
struct Batch {
  int signals = 0;
  int64_t samples = 0;
  int groups() const { return (signals + kLanes - 1) / kLanes; }
  int lanes(int group) const { return group + 1 < groups() ? kLanes : signals - group * kLanes; }
  bool operator==(const Batch &other) const { return signals == other.signals && samples == other.samples; }
};

class Pass;

// A network whose weights are learned. It never changes.
class Learner {
 public:
  virtual ~Learner() = default;
  virtual std::unique_ptr<Pass> pass() const = 0;
  int inputs = 1;
  int64_t weights = 0;          // in the flat vector
  int64_t receptive_field = 1;  // of an output
  int64_t state = 0;            // floats of a signal's state

 protected:
  Matrix matrix(int outs, int ins) {
    Matrix made(outs, ins);
    made.sums = sums_;
    sums_ += int64_t(made.size());
    return made;
  }
  int64_t sums_ = 0;
  friend class Pass;
};

// One forward pass, and what going back needs of it; its memory is used again for the next one.
class Pass {
 public:
  virtual ~Pass() = default;
  // in: [signal][input][sample], out: [signal][sample - (receptive_field - 1)], state: [signal][…] before and after
  void forward(const float *weights, const float *in, Batch batch, float *state, float *out, int threads);
  // Once for each forward pass. gradient: as out; gradients: of the weights, replaced.
  void backward(const float *gradient, float *gradients, int threads);

 protected:
  explicit Pass(const Learner &learner) : learner_(learner) {}
  // The memory that the batch needs, with zeros where they have to be.
  virtual void lay_out() = 0;
  virtual void pack(const float *weights) = 0;
  virtual void begin() {}  // of going forward or backward
  // The share of one of so many threads. `sums` of gradients are where the matrices have their places.
  virtual void go_forward(int thread, int threads) = 0;
  virtual void go_backward(int thread, int threads, float *sums) = 0;
  virtual void collect(const float *sums, float *gradients) const = 0;
  virtual void read_state(const float *) {}
  virtual void write_state(float *) {}

  // Time begins with the input's first sample. All groups lie one after the other.
  struct Signal {
    int64_t start = 0, end = 0;
    int channels = 0;
    Floats data;
    void lay_out(int groups, int of_channels, int64_t from, int64_t to) {
      start = from, end = to, channels = of_channels;
      data = {};  // first, so that old and new are never there together
      data = Floats(size_t(groups * (end - start) * channels * kLanes));
    }
    ptrdiff_t step() const { return ptrdiff_t(channels) * kLanes; }
    ptrdiff_t group_step() const { return ptrdiff_t(end - start) * step(); }
    Rows at(int group, int64_t time) const {
      return {data.data() + group * group_step() + (time - start) * step(), step()};
    }
    // All groups at one time, as if they were times.
    Rows across(int first_group, int64_t time) const { return {at(first_group, time).x, group_step()}; }
  };

  const Learner &learner_;
  Batch batch_;
  Signal x_;  // the input, with one more channel that is 1: the weights of it are the biases
  Signal y_;  // the output, and then its gradient
  int64_t outputs() const { return batch_.samples - learner_.receptive_field + 1; }
  // From and to the caller's arrays, for some of a group's times.
  void read_input(int group, int64_t from, int64_t to);
  void write_output(int group, int64_t from, int64_t to, float scale);
  void read_gradient(int group, int64_t from, int64_t to, float scale);
  Rows ones(int group, int64_t time) const { return x_.at(group, time).channel(learner_.inputs); }

 private:
  bool ready_ = false;  // to go back
  const float *in_ = nullptr, *gradient_ = nullptr;
  float *out_ = nullptr;
  std::vector<Floats> sums_;  // of each thread
};

std::unique_ptr<Learner> learn_wavenet(const Json &description);
std::unique_ptr<Learner> learn_recurrent(const Json &description);
std::unique_ptr<Learner> read_learner(const char *description);

}  // namespace neurig
