// One GRU layer (Cho et al. 2014) with the reset gate after the multiplication, as PyTorch, Keras and cuDNN compute it:
//   r = σ(W_r x + U_r h + b_r),  z = σ(W_z x + U_z h + b_z),  n = tanh(W_n x + b_n + r·(U_n h + c_n)),  h' = n + z·(h − n)
#pragma once
#include "model.h"

namespace neurig {

struct GruLayer {
  int inputs = 0, units = 0, padded = 0;
  Floats weights, bias;  // [inputs + units][r z n][padded]; [r z n c_n][padded]

  GruLayer(int inputs_, int units_)
      : inputs(inputs_), units(units_), padded((units_ + kPad - 1) / kPad * kPad),
        weights(size_t(inputs + units) * 3 * padded), bias(size_t(4) * padded) {}

  float &weight(int row, int gate, int unit) { return weights[(size_t(row) * 3 + gate) * padded + unit]; }
  float &bias_of(int gate, int unit) { return bias[size_t(gate) * padded + unit]; }

  void lay_out(Layout &layout) { xh_ = layout.take(inputs + padded); }  // h is read in whole vectors

  float *input(State &state) const { return state.data.data() + xh_; }
  float *output(State &state) const { return state.data.data() + xh_ + inputs; }
  // [real time] from what is in input() to output()
  void step(State &state) const { kernels().gru_step(input(state), weights.data(), bias.data(), inputs, padded, units); }

 private:
  int64_t xh_ = 0;  // place in the state: [inputs | h]
};

}  // namespace neurig
