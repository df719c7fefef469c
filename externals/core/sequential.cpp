#include "sequential.h"

#include <algorithm>
#include <cmath>

#include "instance.h"

namespace neurig {
namespace {

// A causal convolution, dilated and grouped; with one tap, a dense layer.
class Conv : public Layer {
 public:
  Conv(int inputs, int outs, int kernel, int64_t dilation, int groups, const Sequential::ConvWeight &weight,
       const std::vector<float> &bias, Layout &layout)
      : ins_(inputs / groups), outs_(outs / groups), kernel_(kernel), groups_(groups), dilation_(dilation),
        history_(inputs, (kernel - 1) * dilation, layout), bias_(size_t(outs)) {
    std::copy(bias.begin(), bias.end(), bias_.data());
    for (int g = 0; g < groups; g++)
      for (int tap = 0; tap < kernel; tap += kTaps) {
        const int taps = std::min(kTaps, kernel - tap);
        Floats packed(size_t(outs_) * ins_ * taps);
        pack_affine(packed.data(), outs_, ins_ * taps,
                    [&](int o, int i) { return weight(g * outs_ + o, i % ins_, tap + i / ins_); });
        weights_.push_back(std::move(packed));
      }
  }

  Rows input(State &state) const override { return {history_.next(state), history_.stride}; }

  void run(State &state, Rows in, Rows out, int n) const override {
    const Floats *weights = weights_.data();
    for (int g = 0; g < groups_; g++) {
      const float *const x = in.x + ptrdiff_t(g) * ins_ * in.stride;
      float *const y = out.x + ptrdiff_t(g) * outs_ * out.stride;
      for (int tap = 0; tap < kernel_; tap += kTaps) {
        Source sources[kTaps];
        const int taps = std::min(kTaps, kernel_ - tap);
        for (int t = 0; t < taps; t++) sources[t] = {x - (kernel_ - 1 - tap - t) * dilation_, in.stride, ins_};
        // The first taps start from the bias, the others from the sum so far.
        kernels().affine(y, out.stride, outs_, weights++->data(), tap ? nullptr : &bias_[size_t(g) * outs_],
                         tap ? y : nullptr, out.stride, sources, taps, n);
      }
    }
    history_.advance(state, n);
  }

 private:
  static constexpr int kTaps = 64;    // in one sum
  int ins_, outs_, kernel_, groups_;  // ins and outs of each group
  ptrdiff_t dilation_;
  History history_;
  Floats bias_;
  std::vector<Floats> weights_;  // per group, per kTaps taps
};

class Recurrent : public Layer {
 public:
  Recurrent(RecurrentLayer layer, Layout &layout) : layer_(std::move(layer)), rows_(layout.rows(layer_.inputs())) {
    layer_.lay_out(layout);
  }
  Rows input(State &state) const override { return {state.data.data() + rows_, kRow}; }
  void run(State &state, Rows in, Rows out, int n) const override {
    State *const states[] = {&state};
    together(states, 1, &in, &out, n);
  }
  void together(State *const *states, int channels, const Rows *in, const Rows *out, int n) const override {
    const float *x[kTogether];
    float *y[kTogether];
    for (int k = 0; k < channels; k++) x[k] = in[k].x, y[k] = out[k].x;
    layer_.run(states, channels, x, in[0].stride, y, out[0].stride, n);
  }

 private:
  RecurrentLayer layer_;
  int64_t rows_;
};

constexpr double kKnobSeconds = 0.02;  // a knob's way from 0 to 1

}  // namespace

// Whole rows of vectors, so that a frame is computed in the same way wherever it lies in a block.
void Pointwise::run(Rows rows, int channels, int n) const {
  const int whole = (n + kPad - 1) / kPad * kPad;
  switch (kind) {
    case activation: return kernels().activate(function, nullptr, rows.x, rows.stride, channels, n);
    case softmax: {
      float greatest[kRow], sum[kRow] = {};
      std::copy_n(rows.x, whole, greatest);
      for (int c = 1; c < channels; c++)
        for (int f = 0; f < whole; f++) greatest[f] = std::max(greatest[f], rows.x[c * rows.stride + f]);
      for (int c = 0; c < channels; c++)
        for (int f = 0; f < whole; f++) rows.x[c * rows.stride + f] -= greatest[f];
      // e^x - 1, as no x is positive now
      kernels().activate(Activation::elu, nullptr, rows.x, rows.stride, channels, n);
      for (int c = 0; c < channels; c++)
        for (int f = 0; f < whole; f++) sum[f] += rows.x[c * rows.stride + f] += 1;
      for (int c = 0; c < channels; c++)
        for (int f = 0; f < whole; f++) rows.x[c * rows.stride + f] /= sum[f];
      return;
    }
    case prelu:
      for (int c = 0; c < channels; c++)
        for (int f = 0; f < whole; f++) {
          float &x = rows.x[c * rows.stride + f];
          x = x >= 0 ? x : x * factor[size_t(c)];
        }
      return;
    case scale:
      for (int c = 0; c < channels; c++)
        for (int f = 0; f < whole; f++) {
          float &x = rows.x[c * rows.stride + f];
          x = x * factor[size_t(c)] + shift[size_t(c)];
        }
  }
}

Sequential::Sequential(int inputs) : inputs_(inputs), channels_(inputs), between_(1) {
  for (int i = 1; i < inputs; i++) params.push_back({"knob" + std::to_string(i)});
  knobs_ = layout_.take(inputs);
}

// What is too large is refused here, before it is allocated.
void Sequential::count(int64_t macs, int64_t biases) {
  macs_ += macs;
  cost += macs + kLayerCost;
  weights_ += macs + biases;
  if (weights_ > kMaxStateFloats)
    throw Error("the model has more than " + std::to_string(kMaxStateFloats >> 20) + " million weights");
}

void Sequential::pointwise(Pointwise op) {
  cost += kLayerCost + 32 * channels_;
  between_.back().push_back(std::move(op));
}

void Sequential::add(std::unique_ptr<Layer> layer, int outs) {
  layers_.push_back(std::move(layer));
  widths_.push_back(channels_);
  between_.emplace_back();
  channels_ = outs;
}

void Sequential::conv(int outs, int kernel, int64_t dilation, int groups, const ConvWeight &weight,
                      const std::vector<float> &bias) {
  count(int64_t(outs) * (channels_ / groups) * kernel, outs);
  receptive_field_ += (kernel - 1) * dilation;
  add(std::make_unique<Conv>(channels_, outs, kernel, dilation, groups, weight, bias, layout_), outs);
}

void Sequential::recurrent(Cell cell, int units, const GateWeight &weight, const GateBias &bias) {
  const int gates = cell == Cell::lstm ? 4 : 3;
  count(int64_t(gates) * units * (channels_ + units), 4 * units);
  RecurrentLayer layer(cell, channels_, units);
  for (int u = 0; u < units; u++) {
    for (int g = 0; g < gates; g++)
      for (int row = 0; row < channels_ + units; row++) layer.set_weight(row, g, u, weight(row, g, u));
    for (int g = 0; g < 4; g++) layer.set_bias(g, u, bias(g, u));
  }
  recurrent_ = true;
  add(std::make_unique<Recurrent>(std::move(layer), layout_), units);
}

void Sequential::finish() {
  last_ = layout_.take(int64_t(std::max(channels_, inputs_)) * kRow);
  knob_step_ = float(1 / (kKnobSeconds * rate));
  info["receptive_field"] = recurrent_ ? Json() : Json(receptive_field_);
  info["macs"] = macs_;
  info["weights"] = weights_;
  if (channels_ > 1) warn("it has " + std::to_string(channels_) + " outputs; the first is heard");
  prewarm(zeros(), silence());
  for (size_t k = 0; k < params.size(); k++) silent.data[size_t(knobs_) + k] = -1;
}

// Half a second for what remembers for ever.
int64_t Sequential::silence() const { return receptive_field_ + (recurrent_ ? int64_t(rate / 2) : 0); }

State Sequential::silent_exactly() const {
  if (!recurrent_) return silent;
  State state = warmed(zeros(true), silence(), int64_t(5e8));
  for (size_t k = 0; k < params.size(); k++) state.data[size_t(knobs_) + k] = -1;
  return state;
}

State Sequential::zeros(bool exact) const {
  State state = layout_.zeros();
  state.exact = exact;
  for (size_t k = 0; k < params.size(); k++) state.data[size_t(knobs_) + k] = -1;  // unset
  return state;
}

Rows Sequential::first(State &state) const {
  return layers_.empty() ? Rows{state.data.data() + last_, kRow} : layers_[0]->input(state);
}

void Sequential::run(State *const *states, int channels, Rows *rows, int n) const {
  for (size_t l = 0; l < layers_.size(); l++) {
    Rows out[kTogether];
    for (int k = 0; k < channels; k++) {
      for (const Pointwise &op : between_[l]) op.run(rows[k], widths_[l], n);
      const bool last = l + 1 == layers_.size();
      out[k] = last ? Rows{states[k]->data.data() + last_, kRow} : layers_[l + 1]->input(*states[k]);
    }
    layers_[l]->together(states, channels, rows, out, n);
    std::copy_n(out, channels, rows);
  }
  for (int k = 0; k < channels; k++)
    for (const Pointwise &op : between_.back()) op.run(rows[k], channels_, n);
}

void Sequential::process(State &state, const float *knobs, const float *in, float *out, int n) const {
  State *const states[] = {&state};
  together(states, 1, knobs, &in, &out, n);
}

void Sequential::together(State *const *states, int channels, const float *knobs, const float *const *in,
                          float *const *out, int n) const {
  float dry[kTogether][kBlock];
  Rows rows[kTogether];
  for (int c = 0; c < channels; c++) {
    for (int i = 0; i < n; i++) dry[c][i] = in_gain * in[c][i];
    rows[c] = first(*states[c]);
    std::copy_n(dry[c], n, rows[c].x);
    for (size_t k = 0; k < params.size(); k++) {
      float &now = states[c]->data[size_t(knobs_) + k], *row = rows[c].x + ptrdiff_t(k + 1) * rows[c].stride;
      if (now < 0) now = knobs[k];  // nothing has been heard yet
      for (int i = 0; i < n; i++) row[i] = now += std::clamp(knobs[k] - now, -knob_step_, knob_step_);
    }
  }
  run(states, channels, rows, n);
  for (int c = 0; c < channels; c++)
    for (int i = 0; i < n; i++) out[c][i] = out_gain * (skip ? rows[c].x[i] + dry[c][i] : rows[c].x[i]);
}

std::vector<float> Sequential::response(const std::vector<float> &input) const {
  const FlushToZero flush;
  State state = zeros(), *const states[] = {&state};
  std::vector<float> output(input.size());
  for (size_t at = 0; at < input.size(); at += kBlock) {
    const int n = int(std::min<size_t>(kBlock, input.size() - at));
    Rows rows = first(state);
    std::copy_n(&input[at], n, rows.x);
    for (int k = 1; k < inputs_; k++) std::fill_n(rows.x + k * rows.stride, n, 0.f);
    run(states, 1, &rows, n);
    for (int i = 0; i < n; i++) output[at + size_t(i)] = rows.x[i] + (skip ? input[at + size_t(i)] : 0.f);
  }
  return output;
}

}  // namespace neurig
