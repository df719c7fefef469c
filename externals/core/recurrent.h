// One recurrent layer, shared by amps and by the MDRNN:
//   LSTM (Hochreiter & Schmidhuber 1997, with forget gate), gates i f g o, as PyTorch, Keras and NAM have them;
//   GRU (Cho et al. 2014) with the reset gate after the multiplication, as PyTorch, Keras and cuDNN compute it:
//     r = σ(W_r x + U_r h + b_r),  z = σ(W_z x + U_z h + b_z),
//     n = tanh(W_n x + b_n + r·(U_n h + c_n)),  h' = n + z·(h − n)
//   with gates r, z, n, and for the bias also a fourth, c_n.
#pragma once
#include "model.h"

namespace neurig {

enum class Cell { lstm, gru };

class RecurrentLayer {
 public:
  static constexpr double kLog2e = 1.4426950408889634;
  RecurrentLayer(Cell cell, int inputs, int units)
      : cell_(cell), gates_{inputs, units, cell == Cell::lstm ? 4 : 3, kernels().lanes}, weights_(gates_.size()),
        bias_(gates_.bias_size()) {}

  int inputs() const { return gates_.inputs; }
  int units() const { return gates_.units; }
  int64_t macs() const { return int64_t(gates_.in_row) * units() * (inputs() + units()); }
  // A weight of an input's row or, after the inputs, of h's.
  void set_weight(int row, int gate, int unit, float value) {
    const int slot = cell_ == Cell::gru && gate == 2 && row >= inputs() ? 3 : gate;
    weights_[gates_.place(row, slot, unit)] = float(value * scale(slot));
  }
  void set_bias(int gate, int unit, float value) { bias_[gates_.bias_place(gate, unit)] = float(value * scale(gate)); }
  // h, then c; of a stream that computes exactly, as doubles
  void lay_out(Layout &layout) { state_ = layout.take(4 * gates_.padded()); }
  void set_state(State &state, int unit, float h, float c) const;
  // [real time] From planar rows to planar rows, which may not overlap.
  void run(State &state, const float *in, ptrdiff_t in_stride, float *out, ptrdiff_t out_stride, int frames) const;
  // [real time] The same for several channels, at most kTogether. May write up to kPad floats after a row's last frame.
  void run(State *const *states, int channels, const float *const *in, ptrdiff_t in_stride, float *const *out,
           ptrdiff_t out_stride, int frames) const;

 private:
  void run_exactly(double *state, const float *in, ptrdiff_t in_stride, float *out, ptrdiff_t out_stride, int frames) const;
  float *place(State &state) const { return state.data.data() + state_; }
  // What turns a gate's sum into the exponent that the kernels want: a sigmoid is 1/(1 + 2^(-x·log₂e)), a tanh twice
  // that of 2x, less 1.
  double scale(int slot) const {
    return slot == 2 || (cell_ == Cell::gru && slot == 3) ? -2 * kLog2e : -kLog2e;
  }

  Cell cell_;
  Gates gates_;
  Floats weights_, bias_;
  int64_t state_ = 0;
};

}  // namespace neurig
