// LSTM and GRU, included by kernels.inl. A step is one long chain - h into every gate, a tanh, the cell, another tanh, the
// next h - so what counts here is latency: vectors of units, several sums in turn for each gate, gates of few units side
// by side in one vector (struct Gates), and a tanh that is quick to arrive rather than cheap.

#if VL == 16
INLINE V within(V x, float most) { return (V)_mm512_range_ps((__m512)x, (__m512)all(most), 2); }
#else
INLINE V within(V x, float most) { return clip(x, all(-most), all(most)); }
#endif

// tanh(x) as x·P(x²)/Q(x²), fitted for the least greatest error: 8e-9, which rounding makes 2.8e-7.
INLINE V quick_tanh(V x) {
  x = within(x, 8.2f);
  const V y = x * x, y2 = y * y;
  const V top = x * (1.f + 0.13431369f * y) + x * y2 * (3.5557908e-03f + 2.1622560e-05f * y + 1.4820098e-08f * y2);
  const V bottom = 1.f + 0.46764695f * y + y2 * (2.6104891e-02f + 3.3849778e-04f * y + 8.3622538e-07f * y2);
  return top / bottom;
}
// factor·tanh(x/2), no later than tanh(x).
INLINE V quick_tanh_of_half(V x, V factor) {
  x = within(x, 16.4f);
  const V y = x * x, y2 = y * y;
  x *= factor;
  const V top = x * (1.f / 2 + 0.13431369f / 8 * y) +
                x * y2 * (3.5557908e-03f / 32 + 2.1622560e-05f / 128 * y + 1.4820098e-08f / 512 * y2);
  const V bottom = 1.f + 0.46764695f / 4 * y + y2 * (2.6104891e-02f / 16 + 3.3849778e-04f / 64 * y + 8.3622538e-07f / 256 * y2);
  return top / bottom;
}

// Gate G in all parts of a vector, from vectors that hold SHARE of the four gates side by side.
template <int SHARE, int G> INLINE V gate(const V *packed) {
  typedef int Lanes __attribute__((vector_size(VL * 4)));
  Lanes lanes{};
#pragma GCC unroll 16
  for (int l = 0; l < VL; l++) lanes[l] = G % SHARE * (VL / SHARE) + l % (VL / SHARE);
  return SHARE == 1 ? packed[G] : __builtin_shuffle(packed[G / SHARE], lanes);
}

// What the two kinds of cell make of the four sums for a vector of units. Weights of sigmoid's sums are halved, as
// sigmoid(x) = (1 + tanh(x/2))/2.
struct LstmCell {
  static constexpr int rows = 4;  // gates in a row of weights, for an input as for h
  // i f g o; c is kept doubled: 2c' = (1 + f)·c + (1 + i)·g, h' = (1 + o)/2 · tanh(c').
  template <int SHARE> static inline __attribute__((always_inline)) void finish(V *sum, const float *, float *c, float *next) {
#pragma GCC unroll 4
    for (int v = 0; v < 4 / SHARE; v++) sum[v] = quick_tanh(sum[v]);
    const V g = gate<SHARE, 2>(sum), half = load(c) * 0.5f;
    const V cell = (gate<SHARE, 1>(sum) * half + half) + (gate<SHARE, 0>(sum) * g + g);
    store(c, cell);
    store(next, quick_tanh_of_half(cell, gate<SHARE, 3>(sum) * 0.5f + 0.5f));
  }
};
struct GruCell {
  static constexpr int rows = 3;  // an input has no part in the fourth, h none in the third
  // r z a b: n = tanh(a + r·b), h' = (1 - z)·n + z·h; b comes halved too, so that r·b = b/2 + tanh(…)·b/2.
  template <int SHARE> static inline __attribute__((always_inline)) void finish(V *sum, const float *h, float *, float *next) {
    const V a = gate<SHARE, 2>(sum), b = gate<SHARE, 3>(sum);
#pragma GCC unroll 2
    for (int v = 0; v < (SHARE == 1 ? 2 : 1); v++) sum[v] = quick_tanh(sum[v]);
    const V z = gate<SHARE, 1>(sum) * 0.5f;
    const V n = quick_tanh((a + b) + gate<SHARE, 0>(sum) * b);
    store(next, n * (0.5f - z) + (0.5f + z) * load(h));
  }
};

// Adds one input's (or h's) row of weights to the sums: FULL vectors of units, then PACKED vectors of what is left.
template <class Cell, int FULL, int PACKED, bool OF_H> INLINE void add_row(V *sum, float x, const float *row) {
  const V a = all(x);
#pragma GCC unroll 16
  for (int v = 0; v < Cell::rows * FULL; v++) {
    const int g = v % Cell::rows, to = v / Cell::rows * 4 + (Cell::rows == 3 && g == 2 && OF_H ? 3 : g);
    sum[to] += a * load(row + v * VL);
  }
#pragma GCC unroll 4
  for (int v = 0; v < PACKED; v++) sum[4 * FULL + v] += a * load(row + (Cell::rows * FULL + v) * VL);
}

// One step of FULL vectors of units and, where SHARE > 0, of one more whose gates lie SHARE to a vector.
template <class Cell, int FULL, int SHARE>
INLINE void recurrent_step(const float *row, ptrdiff_t stride, const float *bias, const float *x, ptrdiff_t x_stride,
                           int inputs, const float *h, int units, int first, float *c, float *next) {
  constexpr int PACKED = SHARE ? 4 / SHARE : 0, N = 4 * FULL + PACKED;
  constexpr int CHAINS = N <= 2 ? 4 : 32 * N <= 9 * REGISTERS ? 2 : 1;  // sums in turn, as far as the registers go
  V sum[CHAINS][N];
#pragma GCC unroll 16
  for (int v = 0; v < N; v++) sum[0][v] = load(bias + v * VL);
#pragma GCC unroll 4
  for (int k = 1; k < CHAINS; k++)
#pragma GCC unroll 16
    for (int v = 0; v < N; v++) sum[k][v] = all(0.f);
  for (int i = 0; i < inputs; i++, row += stride) add_row<Cell, FULL, PACKED, false>(sum[0], x[i * x_stride], row);
  int j = 0;
  for (; j + 4 <= units; j += 4)
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++, row += stride) add_row<Cell, FULL, PACKED, true>(sum[k % CHAINS], h[j + k], row);
  for (; j < units; j++, row += stride) add_row<Cell, FULL, PACKED, true>(sum[0], h[j], row);
#pragma GCC unroll 16
  for (int v = 0; v < N; v++)
    if (CHAINS == 4) sum[0][v] = (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
    else if (CHAINS == 2) sum[0][v] += sum[1][v];
#pragma GCC unroll 16
  for (int v = 0; v < FULL; v++)
    Cell::template finish<1>(sum[0] + 4 * v, h + first + v * VL, c + first + v * VL, next + first + v * VL);
  if constexpr (SHARE > 0)
    Cell::template finish<SHARE>(sum[0] + 4 * FULL, h + first + FULL * VL, c + first + FULL * VL, next + first + FULL * VL);
}

template <class Cell>
static void recurrent(const Gates &gates, const float *w, const float *bias, int inputs, float *state, const float *in,
                      ptrdiff_t in_stride, float *out, ptrdiff_t out_stride, int frames) {
  const int units = gates.units, full = gates.full(), share = gates.share();
  const ptrdiff_t stride = gates.row(Cell::rows);
  alignas(64) float hs[2][kMaxUnits];
  float *h = hs[0], *next = hs[1], *const c = state + gates.padded();
  for (int u = 0; u < gates.padded(); u += VL) store(h + u, load(state + u));
  for (int f = 0; f < frames; f++) {
    const float *const x = in + f;
    switch (8 * full + share) {
#define ALL_AT_ONCE(FULL, SHARE)                                                                                        \
  case 8 * FULL + SHARE:                                                                                                \
    recurrent_step<Cell, FULL, SHARE>(w, stride, bias, x, in_stride, inputs, h, units, 0, c, next);                     \
    break;
      ALL_AT_ONCE(0, 2)
      ALL_AT_ONCE(0, 4)
      ALL_AT_ONCE(1, 0)
      ALL_AT_ONCE(1, 4)
#if REGISTERS == 32
      ALL_AT_ONCE(1, 2)
      ALL_AT_ONCE(2, 0)
      ALL_AT_ONCE(2, 2)
      ALL_AT_ONCE(2, 4)
#endif
#undef ALL_AT_ONCE
      default: {  // more than the registers hold: one vector of units after the other
        int v = 0;
        for (; v < full; v++)
          recurrent_step<Cell, 1, 0>(w + v * Cell::rows * VL, stride, bias + v * 4 * VL, x, in_stride, inputs, h, units, v * VL, c, next);
        const float *const last = w + v * Cell::rows * VL, *const last_bias = bias + v * 4 * VL;
        if (share == 2) recurrent_step<Cell, 0, 2>(last, stride, last_bias, x, in_stride, inputs, h, units, v * VL, c, next);
        if (share == 4) recurrent_step<Cell, 0, 4>(last, stride, last_bias, x, in_stride, inputs, h, units, v * VL, c, next);
      }
    }
    for (int u = 0; u < units; u++) out[u * out_stride + f] = next[u];
    float *const before = h;
    h = next, next = before;
  }
  for (int u = 0; u < gates.padded(); u += VL) store(state + u, load(h + u));
}
