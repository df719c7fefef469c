// One LSTM layer (Hochreiter & Schmidhuber 1997, with forget gate), gates in the order i, f, g, o, as PyTorch, Keras and
// NAM have them. Shared by NAM's LSTM amps and by the MDRNN.
#pragma once
#include "model.h"

namespace neurig {

struct LstmLayer {
  int inputs = 0, units = 0, padded = 0;
  Floats weights, bias;  // [inputs + units][4][padded], [4][padded]
  int xh = 0, cell = 0;  // places in the state: [inputs | h] and c

  LstmLayer(int inputs_, int units_)
      : inputs(inputs_), units(units_), padded((units_ + kPad - 1) / kPad * kPad),
        weights(size_t(inputs + units) * 4 * padded), bias(size_t(4) * padded) {}

  float &weight(int row, int gate, int unit) { return weights[(size_t(row) * 4 + gate) * padded + unit]; }
  float &bias_of(int gate, int unit) { return bias[size_t(gate) * padded + unit]; }

  // Takes its places in a state of `size` floats so far; returns the new size.
  size_t lay_out(size_t size) {
    const auto rounded = [](int n) { return size_t(n + kPad - 1) / kPad * kPad; };
    xh = int(size);
    cell = int(size + rounded(inputs + units));
    return size_t(cell) + size_t(padded);
  }

  float *input(State &state) const { return state.data.data() + xh; }
  float *output(State &state) const { return state.data.data() + xh + inputs; }
  // [real time] from what is in input() to output()
  void step(State &state) const {
    kernels().lstm_step(input(state), state.data.data() + cell, weights.data(), bias.data(), inputs, padded, units);
  }
};

}  // namespace neurig
