// The arithmetic of training, once per instruction set, like that of playing (kernels.h).
//
// Layout: [time][channel][lane], where the lanes are kLanes signals of a batch. A channel at one time is whole vectors
// for every instruction set, and what goes from one time to another is no shuffle.
#pragma once
#include <cstddef>

#include "kernels.h"

namespace neurig {

constexpr int kLanes = 16;

// Channels over time: `step` floats from one time to the next.
struct Rows {
  float *x;
  ptrdiff_t step;
  Rows channel(int c) const { return {x + ptrdiff_t(c) * kLanes, step}; }
  Rows at(ptrdiff_t time) const { return {x + time * step, step}; }
};
// Those of them that go into a sum.
struct Term {
  Rows rows;
  int channels;
};

struct TrainKernels {
  const char *name;
  int tile;  // outputs that affine computes at a time, at most
  // out[t][o] = add[t][o] + Σ_k Σ_i w(k, o, i)·terms[k][t][i]; `add` may be null, or `out` itself. `w` is packed by
  // pack_tiles.
  void (*affine)(Rows out, int outs, const float *w, Rows add, const Term *terms, int count, int steps);
  // sums[o·row + i] += Σ_t a[t][o]·b[t][i]; every sum is four floats, which are to be added up.
  void (*outer)(float *sums, ptrdiff_t row, Rows a, int outs, Rows b, int ins, int steps);
  // x += y
  void (*add)(Rows x, Rows y, int channels, int steps);
  // In place; `slope` of leaky_relu. Numbers that are none stay so.
  void (*activate)(Activation kind, float slope, Rows x, int channels, int steps);
  // x = gradient·f'(z), where x is f(z)
  void (*derive)(Activation kind, float slope, Rows x, Rows gradient, int channels, int steps);
  // out = x₁·x₂ of twice as many channels; and x = the gradients before the activations, tanh and sigmoid.
  void (*gate)(Rows out, Rows x, int channels, int steps);
  void (*derive_gate)(Rows x, Rows gradient, int channels, int steps);

  // A step of recurrent cells for `steps` groups of lanes. `z` are the sums of the gates, and takes what backward
  // needs. LSTM, i f g o: `c` and `h` before and after. Backward: from dh, and dc in place, z becomes the gradient of
  // the sums.
  void (*lstm)(Rows z, Rows c, Rows c_next, Rows h_next, int units, int steps);
  void (*derive_lstm)(Rows z, Rows c, Rows c_next, Rows dh, Rows dc, int units, int steps);
  // GRU, z r n and what h gives to n (recurrent.h). Backward: dh becomes what is left of it for the h before.
  void (*gru)(Rows z, Rows h, Rows h_next, int units, int steps);
  void (*derive_gru)(Rows z, Rows h, Rows dh, int units, int steps);
};

const TrainKernels &train_kernels();

// How affine tiles its outputs.
inline int train_tile(int left, int most) { return left >= most ? most : left >= 4 ? 4 : left; }

// Packs weights for affine: `weight(o, i)`, with i counting through the channels of all terms in order.
template <class Weight> void pack_tiles(float *packed, int outs, int inputs, int most, Weight weight) {
  for (int o = 0, tile; o < outs; o += tile) {
    tile = train_tile(outs - o, most);
    for (int i = 0; i < inputs; i++)
      for (int t = 0; t < tile; t++) *packed++ = weight(o + t, i);
  }
}

}  // namespace neurig
