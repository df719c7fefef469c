// The arithmetic under every model, once per instruction set; the best one for this CPU is chosen when first asked for.
//
// Layout: a block of frames is planar, [channel][frame], so that frames fill the SIMD lanes whatever the number of
// channels. Kernels work on whole vectors: they may read and write up to kPad floats beyond the last frame of a row.
#pragma once
#include <cstddef>

namespace neurig {

constexpr int kBlock = 64;  // frames that models process at a time, at most
constexpr int kPad = 16;    // floats of slack after the last frame of every row
constexpr int kRow = kBlock + kPad;

// Parameters: hardtanh low, high; leaky_hardtanh low, high, slope below, slope above; leaky_relu a slope per channel.
enum class Activation {
  none, tanh, relu, sigmoid, hardtanh, leaky_hardtanh, leaky_relu, silu, hardswish, softsign, softsigmoid, elu
};

// A planar block that goes into a sum.
struct Source {
  const float *x;
  ptrdiff_t stride;
  int channels;
};

// The commonest layer of a WaveNet, computed in one go; packed by pack_layer:
//   z = Σ taps + mixin·condition + b, a = f(z), head += a (or = a, in the first), next = x + W·a + b'
struct LayerBlock {
  const float *x;  // the past lies before it
  ptrdiff_t x_stride;
  const float *condition;
  float *head;
  bool first;
  float *next;  // may be null
  ptrdiff_t next_stride;
  ptrdiff_t next_twin;  // from each of its places to a second one (see history.h), 0 where there is none
  int frames;
  // Of a paired layer: rows of `dilation` frames, and how many frames there have been, modulo two dilations.
  float *kept;
  ptrdiff_t kept_stride;
  int phase;
};
struct WaveNetLayer {
  int taps, dilation;
  bool paired;  // three taps packed by pair_taps
  const float *slopes;  // of leaky_relu, per channel
  const float *conv, *bias, *out, *out_bias;
  void (*run)(const WaveNetLayer &layer, const LayerBlock &block);
};

// How the weights of a recurrent layer lie: for each vector of units, a row for every input and then for every unit of h,
// with the gates' vectors in it. What is left of the units, if half a vector or less, has two or four gates to a vector.
struct Gates {
  int inputs, units;
  int in_row;  // gates in a row: 4 of an LSTM, 3 of a GRU (the last for what an input gives to n, or for what h gives)
  int lanes;
  int left() const { return units % lanes; }
  int share() const { return !left() || left() > lanes / 2 ? 0 : left() > lanes / 4 ? 2 : 4; }
  int full() const { return units / lanes + (left() && !share()); }  // vectors of units, the last perhaps not whole
  int packed() const { return share() ? 4 / share() : 0; }           // vectors for the gates of what is left
  int padded() const { return (units + lanes - 1) / lanes * lanes; }
  size_t chunk() const { return size_t(inputs + units) * in_row * lanes; }
  size_t size() const { return full() * chunk() + size_t(inputs + units) * packed() * lanes; }
  size_t place(int row, int gate, int unit) const {
    const int v = unit / lanes, lane = unit % lanes;
    if (v < full()) return v * chunk() + (size_t(row) * in_row + (gate < in_row ? gate : in_row - 1)) * lanes + lane;
    const int part = gate % share() * (lanes / share());
    return full() * chunk() + (size_t(row) * packed() + gate / share()) * lanes + part + lane;
  }
  // The bias is a row of four gates.
  size_t bias_size() const { return size_t(full() * 4 + packed()) * lanes; }
  size_t bias_place(int gate, int unit) const {
    const int v = unit / lanes, lane = unit % lanes;
    if (v < full()) return size_t(v * 4 + gate) * lanes + lane;
    return size_t(full() * 4 + gate / share()) * lanes + gate % share() * (lanes / share()) + lane;
  }
};

constexpr int kTogether = 8;        // channels that a recurrent layer computes at a time, at most
constexpr int kTogetherUnits = 64;  // with more than these it does not pay

using Together = void (*)(const Gates &gates, const float *w, const float *bias, int channels, float *const *states,
                          const float *const *in, ptrdiff_t in_stride, float *const *out, ptrdiff_t out_stride, int frames);

struct Kernels {
  const char *name;
  int lanes;  // floats in a vector
  // What runs a WaveNetLayer; null where there is nothing for these channels or this activation.
  decltype(WaveNetLayer::run) (*wavenet_layer)(int channels, int taps, Activation activation, bool paired);
  int layer_tile;  // outputs that it computes at a time (or all, where there are fewer)
  // out[o][f] = bias[o] + add[o][f] + Σ_s Σ_i w(s, i, o)·source_s[i][f]; bias and add may be null.
  // `w` is packed by pack_affine. Convolution taps, mix-ins and 1×1 layers are all sources of one such sum.
  void (*affine)(float *out, ptrdiff_t out_stride, int outs, const float *w, const float *bias, const float *add,
                 ptrdiff_t add_stride, const Source *sources, int count, int frames);
  // In place, on `channels` rows of `frames`; `params` as the kind needs, else null.
  void (*activate)(Activation kind, const float *params, float *x, ptrdiff_t stride, int channels, int frames);
  void (*copy)(const float *from, ptrdiff_t from_stride, float *to, ptrdiff_t to_stride, int channels, int frames);
  // x[c][f] *= y[c][f], x[c][f] += y[c][f]
  void (*multiply)(float *x, ptrdiff_t x_stride, const float *y, ptrdiff_t y_stride, int channels, int frames);
  void (*add)(float *x, ptrdiff_t x_stride, const float *y, ptrdiff_t y_stride, int channels, int frames);
  // out[f] = bias + Σ_k taps[k]·x[f - k]; reads `count` - 1 samples before x.
  void (*fir)(float *out, const float *x, const float *taps, int count, float bias, int frames);
  // Spectra in split form, n a multiple of kPad: y += a·b.
  void (*multiply_spectra)(float *y_re, float *y_im, const float *a_re, const float *a_im, const float *b_re,
                           const float *b_im, int n);
  // LSTM (gates i f g o) and GRU (r z a b; see recurrent.inl) over `frames` frames, from `inputs` rows to `units` rows.
  // `state`: h, then c, padded.
  void (*lstm)(const Gates &gates, const float *w, const float *bias, float *state, const float *in, ptrdiff_t in_stride,
               float *out, ptrdiff_t out_stride, int frames);
  void (*gru)(const Gates &gates, const float *w, const float *bias, float *state, const float *in, ptrdiff_t in_stride,
              float *out, ptrdiff_t out_stride, int frames);
  // The same for several channels, which is quicker; may write up to kPad floats after a row's last frame.
  Together lstms, grus;
};

const Kernels &kernels();

// How affine tiles its outputs: eights, then a four, a two, a one.
inline int affine_tile(int left) { return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

// Packs weights for affine: `weight(o, i)` with i counting through all inputs of all sources in order.
template <class Weight> void pack_affine(float *packed, int outs, int inputs, Weight weight) {
  for (int o = 0; o < outs;) {
    const int tile = affine_tile(outs - o);
    for (int i = 0; i < inputs; i++)
      for (int t = 0; t < tile; t++) *packed++ = weight(o + t, i);
    o += tile;
  }
}

// Packs weights for wavenet_layer: `weight(o, i)` as above.
template <class Weight> void pack_layer(float *packed, int channels, int inputs, Weight weight) {
  const int tile = kernels().layer_tile < channels ? kernels().layer_tile : channels;
  for (int o = 0; o < channels; o += tile)
    for (int i = 0; i < inputs; i++)
      for (int t = 0; t < tile; t++) *packed++ = weight(o + t, i);
}

// Whether wavenet_layer computes a convolution in pairs of frames (Winograd 1980; Lavin and Gray 2016, F(2, 3)): a third
// fewer multiply-adds, where the frames of a pair are whole vectors apart.
inline bool pairs(int channels, int taps, int dilation) {
  return channels == 16 && taps == 3 && dilation % kernels().lanes == 0;
}
// The weight with which a pair's product is made, of the three taps' weights.
inline float pair_taps(double g0, double g1, double g2, int product) {
  return float(product == 0 ? g0 : product == 1 ? (g0 + g1 + g2) / 2 : product == 2 ? (g0 - g1 + g2) / 2 : g2);
}

}  // namespace neurig
