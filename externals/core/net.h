// The parts that feed-forward networks are made of, all working on planar blocks of up to kBlock frames: [channel][kRow].
#pragma once
#include "activation.h"
#include "history.h"

namespace neurig {

using Row = float *;  // first of several rows, kRow apart unless said otherwise

// A linear map of channels, frame by frame, with taps into the past if it has a History: a (grouped, dilated)
// convolution, or a 1×1 layer.
class Conv {
 public:
  int inputs = 0, outputs = 0, kernel = 1, dilation = 1, groups = 1;
  bool has_bias = false;
  Conv() = default;
  Conv(int inputs, int outputs, int kernel, int dilation, int groups, bool bias, const std::string &where);
  int64_t weights() const { return macs() + (has_bias ? outputs : 0); }
  int64_t macs() const { return int64_t(outputs) * inputs / groups * kernel; }
  int64_t size() const { return int64_t(outputs) * inputs * kernel; }  // with the zeros between groups
  int64_t look() const { return int64_t(kernel - 1) * dilation; }
  void read(Weights &weights);  // [out][in / groups][tap], then the bias
  void scale(float factor);
  // Makes the outputs also take `mixin`'s inputs, so that one pass computes both.
  void absorb(const Conv &mixin);
  // Keeps the first `outputs` and `inputs` only: a slimmer model inside a larger one.
  void slice(int inputs, int outputs);
  void pack();  // after reading
  // [real time] out = bias + add + this of x; x lies `x_stride` apart, with the past before it
  void apply(const float *x, ptrdiff_t x_stride, Row out, ptrdiff_t out_stride, const float *add, ptrdiff_t add_stride, int n,
             const float *mixin = nullptr) const;

  Floats packed, bias;
  std::vector<float> dense;  // [out][tap][in], zeros between groups; the mix-in's inputs behind the last tap
  int mixed = 0;             // inputs of the absorbed mix-in
  bool tiled = false;        // packed for kernels().wavenet_layer instead of affine,
  bool paired = false;       // and in pairs
  static constexpr int kMaxKernel = 64;
};

// Feature-wise linear modulation (Perez et al. 2018): x·scale + shift, both linear in a condition.
class Film {
 public:
  Film() = default;
  Film(int condition, int channels, bool shift, int groups, const std::string &where)
      : map_(condition, (shift ? 2 : 1) * channels, 1, 1, groups, true, where), channels_(channels), shift_(shift) {}
  bool active() const { return channels_ > 0; }
  int64_t weights() const { return active() ? map_.weights() : 0; }
  int64_t macs() const { return active() ? map_.macs() : 0; }
  int64_t size() const { return active() ? map_.size() : 0; }
  int rows() const { return active() ? map_.outputs : 0; }
  void read(Weights &weights) {
    if (active()) map_.read(weights);
  }
  void slice(int channels) {
    if (active()) map_.slice(map_.inputs, (shift_ ? 2 : 1) * channels), channels_ = channels;
  }
  void pack() {
    if (active()) map_.pack();
  }
  // [real time] in place; `scratch` holds rows() rows
  void apply(Row x, const float *condition, Row scratch, int n) const;

 private:
  Conv map_;
  int channels_ = 0;
  bool shift_ = false;
};

// A network from several channels to several.
class Net {
 public:
  virtual ~Net() = default;
  int inputs = 1, outputs = 1;
  int64_t memory = 0;    // samples of the past that reach the output; unlimited where negative
  int64_t macs = 0;      // multiply-adds per sample
  int64_t cost = 0;      // as of an AmpModel
  bool settled = false;  // a fresh state is the one after silence
  virtual void lay_out(Layout &layout) = 0;
  // What in a fresh state is not zero.
  virtual void start(State &) const {}
  // [real time] `in` and `out` are rows; they may be the same
  virtual void process(State &state, const float *in, Row out, int n) const = 0;
  // [real time] The same for several channels, at most kTogether.
  virtual void together(State *const *states, int channels, const float *const *in, const Row *out, int n) const {
    for (int k = 0; k < channels; k++) process(*states[k], in[k], out[k], n);
  }
};

// Readers of NAM's networks. A slimmable WaveNet is given with its channels in each layer array (all where empty).
std::unique_ptr<Net> read_net(const Json &file);
std::unique_ptr<Net> read_wavenet(const Json &config, Weights weights, const std::vector<int> &channels = {});
std::unique_ptr<Net> read_convnet(const Json &config, Weights weights);
std::unique_ptr<Net> read_lstm(const Json &config, Weights weights);
std::unique_ptr<Net> read_linear(const Json &config, Weights weights);

}  // namespace neurig
