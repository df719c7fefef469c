// A stack of layers, each feeding the next: what RTNeural, AIDA-X and GuitarML files hold.
#pragma once
#include <functional>

#include "history.h"
#include "recurrent.h"

namespace neurig {

constexpr int64_t kMaxInputs = 64;

// A block of planar channels.
struct Rows {
  float *x;
  ptrdiff_t stride;
};

// A layer with weights and a place of its own for its input, where the layer before writes.
class Layer {
 public:
  virtual ~Layer() = default;
  // All [real time].
  virtual Rows input(State &state) const = 0;  // for the next block
  virtual void run(State &state, Rows in, Rows out, int n) const = 0;
  virtual void together(State *const *states, int channels, const Rows *in, const Rows *out, int n) const {
    for (int k = 0; k < channels; k++) run(*states[k], in[k], out[k], n);
  }
};

// What is done to each channel where it lies.
struct Pointwise {
  enum Kind { activation, softmax, prelu, scale } kind;
  Activation function = Activation::none;
  std::vector<float> factor, shift;                // per channel: PReLU's slopes; what scale multiplies by and adds
  void run(Rows rows, int channels, int n) const;  // [real time]
};

// The reader adds layer after layer, and ends with finish().
class Sequential : public AmpModel {
 public:
  // The first input is the signal, the others become knobs.
  explicit Sequential(int inputs);

  int channels() const { return channels_; }  // what the layers so far give
  // The weight from input i to output o at a tap, from the oldest on; i counts within the output's group.
  using ConvWeight = std::function<float(int o, int i, int tap)>;
  void conv(int outs, int kernel, int64_t dilation, int groups, const ConvWeight &weight,
            const std::vector<float> &bias);
  void dense(int outs, const ConvWeight &weight, const std::vector<float> &bias) { conv(outs, 1, 1, 1, weight, bias); }
  // The weight of a row - the inputs, then h - to a gate's unit; gates as in RecurrentLayer.
  using GateWeight = std::function<float(int row, int gate, int unit)>;
  using GateBias = std::function<float(int gate, int unit)>;
  void recurrent(Cell cell, int units, const GateWeight &weight, const GateBias &bias);
  void pointwise(Pointwise op);
  void activation(Activation function) { pointwise({Pointwise::activation, function, {}, {}}); }

  bool skip = false;                // the input is added to the output
  float in_gain = 1, out_gain = 1;  // factors
  // After the last layer: prewarms, and describes the model in `info`.
  void finish();
  // From zero state, knobs at 0, without gains: the output for `input`.
  std::vector<float> response(const std::vector<float> &input) const;
  int64_t macs() const { return macs_; }  // multiply-adds per sample

  State silent_exactly() const override;
  void process(State &state, const float *knobs, const float *in, float *out, int n) const override;
  void together(State *const *states, int channels, const float *knobs, const float *const *in, float *const *out,
                int n) const override;

 private:
  void count(int64_t macs, int64_t biases);
  void add(std::unique_ptr<Layer> layer, int outs);
  State zeros(bool exact = false) const;
  int64_t silence() const;  // samples that it takes to forget
  Rows first(State &state) const;
  // From what is in the first layer's inputs, `rows`, to the output's rows.
  void run(State *const *states, int channels, Rows *rows, int n) const;

  int inputs_, channels_;
  Layout layout_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<int> widths_;                      // channels into each layer
  std::vector<std::vector<Pointwise>> between_;  // before each layer, and after the last
  int64_t knobs_ = 0, last_ = 0;                 // places: the knobs' present values, the output's rows
  float knob_step_ = 0;                          // how far a knob moves in a sample
  int64_t macs_ = 0, weights_ = 0, receptive_field_ = 1;
  bool recurrent_ = false;
};

}  // namespace neurig
