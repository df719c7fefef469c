// LSTM and GRU, included by kernels.inl. A step is one long chain - h into every gate, a tanh, the cell, another tanh,
// the next h - so what counts here is latency: vectors of units, several sums in turn for each gate, gates of few units
// side by side in one vector (struct Gates), and a tanh that is quick to arrive rather than cheap.

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
  const V bottom =
      1.f + 0.46764695f / 4 * y + y2 * (2.6104891e-02f / 16 + 3.3849778e-04f / 64 * y + 8.3622538e-07f / 256 * y2);
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
  static constexpr int gates = 4;  // in a row of weights
  // i f g o; c is kept doubled: 2c' = (1 + f)·c + (1 + i)·g, h' = (1 + o)/2 · tanh(c').
  template <int SHARE> INLINE void finish(V *sum, const float *, float *c, float *next) {
#pragma GCC unroll 4
    for (int v = 0; v < 4 / SHARE; v++) sum[v] = quick_tanh(sum[v]);
    const V g = gate<SHARE, 2>(sum), half = load(c) * 0.5f;
    const V cell = (gate<SHARE, 1>(sum) * half + half) + (gate<SHARE, 0>(sum) * g + g);
    store(c, cell);
    store(next, quick_tanh_of_half(cell, gate<SHARE, 3>(sum) * 0.5f + 0.5f));
  }
};
struct GruCell {
  static constexpr int gates = 3;  // in a row: an input has no part in b, h none in a
  // r z a b: n = tanh(a + r·b), h' = (1 - z)·n + z·h; b comes halved too, so that r·b = b/2 + tanh(…)·b/2.
  template <int SHARE> INLINE void finish(V *sum, const float *h, float *, float *next) {
    const V a = gate<SHARE, 2>(sum), b = gate<SHARE, 3>(sum);
#pragma GCC unroll 2
    for (int v = 0; v < (SHARE == 1 ? 2 : 1); v++) sum[v] = quick_tanh(sum[v]);
    const V z = gate<SHARE, 1>(sum) * 0.5f;
    const V n = quick_tanh((a + b) + gate<SHARE, 0>(sum) * b);
    store(next, n * (0.5f - z) + (0.5f + z) * load(h));
  }
};

// Adds what one input (or unit of h) gives to the sums: FULL vectors of units, then PACKED vectors of what is left.
template <class Cell, int FULL, int PACKED, bool OF_H>
INLINE void add_row(V *sum, float x, const float *w, ptrdiff_t chunk, int row) {
  const V a = all(x);
#pragma GCC unroll 16
  for (int v = 0; v < Cell::gates * FULL; v++) {
    const int g = v % Cell::gates, to = v / Cell::gates * 4 + (Cell::gates == 3 && g == 2 && OF_H ? 3 : g);
    sum[to] += a * load(w + v / Cell::gates * chunk + row * Cell::gates * VL + g * VL);
  }
#pragma GCC unroll 4
  for (int v = 0; v < PACKED; v++) sum[4 * FULL + v] += a * load(w + FULL * chunk + row * PACKED * VL + v * VL);
}

// One step of FULL vectors of units, the first of them number `first`, and where SHARE > 0 of one more whose gates lie
// SHARE to a vector.
template <class Cell, int FULL, int SHARE>
INLINE void recurrent_step(const float *w, ptrdiff_t chunk, const float *bias, const float *x, ptrdiff_t x_stride,
                           int inputs, const float *h, int units, int first, float *c, float *next) {
  constexpr int PACKED = SHARE ? 4 / SHARE : 0, N = 4 * FULL + PACKED;
  constexpr int CHAINS = N <= 2 ? 4 : 32 * N <= 9 * REGISTERS ? 2 : 1;  // sums in turn, as far as the registers go
  w += first * chunk, bias += first * 4 * VL;
  V sum[CHAINS][N];
#pragma GCC unroll 16
  for (int v = 0; v < N; v++) sum[0][v] = load(bias + v * VL);
#pragma GCC unroll 4
  for (int k = 1; k < CHAINS; k++)
#pragma GCC unroll 16
    for (int v = 0; v < N; v++) sum[k][v] = all(0.f);
  for (int i = 0; i < inputs; i++) add_row<Cell, FULL, PACKED, false>(sum[0], x[i * x_stride], w, chunk, i);
  int j = 0;
  for (; j + 4 <= units; j += 4)
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) add_row<Cell, FULL, PACKED, true>(sum[k % CHAINS], h[j + k], w, chunk, inputs + j + k);
  for (; j < units; j++) add_row<Cell, FULL, PACKED, true>(sum[0], h[j], w, chunk, inputs + j);
#pragma GCC unroll 16
  for (int v = 0; v < N; v++)
    if (CHAINS == 4) sum[0][v] = (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
    else if (CHAINS == 2) sum[0][v] += sum[1][v];
  h += first * VL, c += first * VL, next += first * VL;
#pragma GCC unroll 16
  for (int v = 0; v < FULL; v++, h += VL, c += VL, next += VL) Cell::template finish<1>(sum[0] + 4 * v, h, c, next);
  if constexpr (SHARE > 0) Cell::template finish<SHARE>(sum[0] + 4 * FULL, h, c, next);
}

// UNITS: their number where it is known to the compiler, else 0.
template <class Cell, int UNITS>
static void recurrent_block(const Gates &gates, const float *w, const float *bias, float *state, const float *in,
                            ptrdiff_t in_stride, float *out, ptrdiff_t out_stride, int frames) {
  constexpr int LEFT = UNITS % VL, SHARE = !LEFT || LEFT > VL / 2 ? 0 : LEFT > VL / 4 ? 2 : 4;
  constexpr int FULL = UNITS / VL + (LEFT && !SHARE);
  constexpr bool at_once = UNITS && 4 * FULL + (SHARE ? 4 / SHARE : 0) <= 10;  // vectors that stay in registers
  const int inputs = gates.inputs, units = UNITS ? UNITS : gates.units;
  const int full = gates.full(), share = gates.share(), padded = gates.padded();
  const ptrdiff_t chunk = ptrdiff_t(gates.chunk());
  alignas(64) float hs[2][kMaxUnits];
  float *h = hs[0], *next = hs[1], *const c = state + padded;
  for (int u = 0; u < padded; u += VL) store(h + u, load(state + u));
  for (int f = 0; f < frames; f++) {
    const float *const x = in + f;
    if constexpr (at_once) {
      recurrent_step<Cell, FULL, SHARE>(w, chunk, bias, x, in_stride, inputs, h, units, 0, c, next);
    } else {
      // One vector of units after the other; to and fro, as the cache may not hold them all.
      for (int n = 0; n < full; n++) {
        const int v = f % 2 ? full - 1 - n : n;
        recurrent_step<Cell, 1, 0>(w, chunk, bias, x, in_stride, inputs, h, units, v, c, next);
      }
      if (share == 2) recurrent_step<Cell, 0, 2>(w, chunk, bias, x, in_stride, inputs, h, units, full, c, next);
      if (share == 4) recurrent_step<Cell, 0, 4>(w, chunk, bias, x, in_stride, inputs, h, units, full, c, next);
    }
    for (int u = 0; u < units; u++) out[u * out_stride + f] = next[u];
    float *const before = h;
    h = next, next = before;
  }
  for (int u = 0; u < padded; u += VL) store(state + u, load(h + u));
}

template <class Cell>
static void recurrent(const Gates &gates, const float *w, const float *bias, float *state, const float *in,
                      ptrdiff_t in_stride, float *out, ptrdiff_t out_stride, int frames) {
  const auto block = [&]() {
    switch (gates.units) {  // those of most files
      case 8: return recurrent_block<Cell, 8>;
      case 12: return recurrent_block<Cell, 12>;
      case 16: return recurrent_block<Cell, 16>;
      case 20: return recurrent_block<Cell, 20>;
      case 24: return recurrent_block<Cell, 24>;
      case 32: return recurrent_block<Cell, 32>;
      case 40: return recurrent_block<Cell, 40>;
      default: return recurrent_block<Cell, 0>;
    }
  }();
  block(gates, w, bias, state, in, in_stride, out, out_stride, frames);
}
