// One LSTM layer (Hochreiter & Schmidhuber 1997, with forget gate), gates in the order i, f, g, o, as PyTorch, Keras and
// NAM have them. Shared by NAM's LSTM amps and by the MDRNN.
#pragma once
#include "model.h"

namespace neurig {

struct LstmLayer {
  int inputs = 0, units = 0, padded = 0;
  Floats weights, bias;  // [inputs + units][4][padded], [4][padded]

  LstmLayer(int inputs_, int units_)
      : inputs(inputs_), units(units_), padded((units_ + kPad - 1) / kPad * kPad),
        weights(size_t(inputs + units) * 4 * padded), bias(size_t(4) * padded) {}

  float &weight(int row, int gate, int unit) { return weights[(size_t(row) * 4 + gate) * padded + unit]; }
  float &bias_of(int gate, int unit) { return bias[size_t(gate) * padded + unit]; }

  void lay_out(Layout &layout) {
    xh_ = layout.take(inputs + units);
    cells_ = layout.take(padded);
  }

  float *input(State &state) const { return state.data.data() + xh_; }
  float *output(State &state) const { return state.data.data() + xh_ + inputs; }
  float *cells(State &state) const { return state.data.data() + cells_; }
  // [real time] from what is in input() to output()
  void step(State &state) const {
    kernels().lstm_step(input(state), cells(state), weights.data(), bias.data(), inputs, padded, units);
  }

 private:
  int64_t xh_ = 0, cells_ = 0;  // places in the state: [inputs | h] and c
};

}  // namespace neurig
