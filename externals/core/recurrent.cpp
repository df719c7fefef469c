#include "recurrent.h"

#include <cmath>

namespace neurig {

void RecurrentLayer::set_state(State &state, int unit, float h, float c) const {
  if (state.exact) {
    double *const at = reinterpret_cast<double *>(place(state)) + unit;
    at[0] = h, at[units()] = c;
  } else {
    float *const at = place(state) + unit;
    at[0] = h, at[gates_.padded()] = c;
  }
}

void RecurrentLayer::run(State &state, const float *in, ptrdiff_t in_stride, float *out, ptrdiff_t out_stride,
                         int frames) const {
  if (state.exact) return run_exactly(reinterpret_cast<double *>(place(state)), in, in_stride, out, out_stride, frames);
  const auto step = cell_ == Cell::lstm ? kernels().lstm : kernels().gru;
  step(gates_, weights_.data(), bias_.data(), place(state), in, in_stride, out, out_stride, frames);
}

void RecurrentLayer::run(State *const *states, int channels, const float *const *in, ptrdiff_t in_stride,
                         float *const *out, ptrdiff_t out_stride, int frames) const {
  // Units that are left after whole vectors would hold the channels up.
  const bool pays = units() <= kTogetherUnits && (!gates_.full() || !gates_.packed());
  if (channels == 1 || !pays || states[0]->exact) {
    for (int k = 0; k < channels; k++) run(*states[k], in[k], in_stride, out[k], out_stride, frames);
    return;
  }
  float *places[kTogether];
  for (int k = 0; k < channels; k++) places[k] = place(*states[k]);
  const auto step = cell_ == Cell::lstm ? kernels().lstms : kernels().grus;
  step(gates_, weights_.data(), bias_.data(), channels, places, in, in_stride, out, out_stride, frames);
}

// In double precision, as the equations are written; what is left of an error is that of the weights, which are scaled
// floats.
void RecurrentLayer::run_exactly(double *state, const float *in, ptrdiff_t in_stride, float *out, ptrdiff_t out_stride,
                                 int frames) const {
  const int units = gates_.units, lanes = gates_.lanes, full = gates_.full(), packed = gates_.packed();
  double *const h = state, *const c = state + units;
  double sums[4 * (kMaxChannels + 16)];  // as the bias lies
  const auto add = [&](double x, int row) {
    double *to = sums;
    const float *w = weights_.data();
    for (int v = 0; v < full; v++, to += 4 * lanes, w += gates_.chunk())
      for (int g = 0; g < gates_.in_row; g++) {
        const float *const from = w + (row * gates_.in_row + g) * lanes;
        const int slot = gates_.in_row == 3 && g == 2 && row >= gates_.inputs ? 3 : g;
        for (int l = 0; l < lanes; l++) to[slot * lanes + l] += x * from[l];
      }
    for (int l = 0; l < packed * lanes; l++) to[l] += x * w[row * packed * lanes + l];
  };
  for (int f = 0; f < frames; f++) {
    for (size_t i = 0; i < gates_.bias_size(); i++) sums[i] = bias_[i];
    for (int i = 0; i < gates_.inputs; i++) add(in[i * in_stride + f], i);
    for (int u = 0; u < units; u++) add(h[u], gates_.inputs + u);
    for (int u = 0; u < units; u++) {
      const auto number = [](double x) { return std::isnan(x) ? 0 : x; };  // an accident at the input does not stay
      const auto sum = [&](int gate) { return number(sums[gates_.bias_place(gate, u)]); };
      const auto sigmoid = [&](int gate) { return 1 / (1 + std::exp2(sum(gate))); };
      const auto tanh = [&](double scaled) { return std::tanh(number(scaled) * (-0.5 / kLog2e)); };
      if (cell_ == Cell::lstm) {
        c[u] = sigmoid(1) * c[u] + sigmoid(0) * tanh(sum(2));
        h[u] = sigmoid(3) * std::tanh(c[u]);
      } else {
        const double z = sigmoid(1);
        h[u] = (1 - z) * tanh(sum(2) + sigmoid(0) * sum(3)) + z * h[u];
      }
      out[u * out_stride + f] = float(h[u]);
    }
  }
}

}  // namespace neurig
