// LSTM and GRU, included by kernels.inl. A step is one long chain - h into every gate, its activation, the cell, another
// activation, the next h - so for a single channel latency is what counts: vectors of units, two sums in turn for each
// gate, gates of few units side by side in one vector (struct Gates). Several channels fill each other's gaps, and get
// the same numbers to the last bit.

typedef int I __attribute__((vector_size(VL * 4)));

#if VL == 16
INLINE V within(V x, float most) { return (V)_mm512_range_ps((__m512)x, (__m512)all(most), 2); }
#else
INLINE V within(V x, float most) { return clip(x, all(-most), all(most)); }
#endif

// 2^x for |x| ≤ 100 with a relative error of 1e-7, as 2^n·(1 + f·(…)) with n a multiple of 1 / 2^kRootBits: of what is no
// whole power the factor is in a table that lies in registers. The order is that in which parts arrive.
#if VL == 16
constexpr int kRootBits = 5;
alignas(64) static const float kRoots[] = {
    1.f,        1.0218971f, 1.0442737f, 1.0671405f, 1.0905077f, 1.1143868f, 1.1387886f, 1.1637249f,
    1.1892071f, 1.2152474f, 1.2418578f, 1.269051f,  1.2968396f, 1.3252366f, 1.3542556f, 1.3839099f,
    1.4142135f, 1.4451808f, 1.4768262f, 1.5091645f, 1.5422108f, 1.5759809f, 1.6104903f, 1.6457555f,
    1.6817929f, 1.7186193f, 1.7562522f, 1.7947091f, 1.8340081f, 1.8741677f, 1.9152066f, 1.9571441f};
INLINE V root(I n) { return (V)_mm512_permutex2var_ps((__m512)load(kRoots), (__m512i)n, (__m512)load(kRoots + 16)); }
INLINE V slope(V f) { return 0.24022868f * f + 0.6931573f; }  // (2^f - 1)/f for |f| ≤ 1/64
#elif VL == 8
constexpr int kRootBits = 3;
alignas(32) static const float kRoots[] = {1.f,        1.0905077f, 1.1892071f, 1.2968396f,
                                           1.4142135f, 1.5422108f, 1.6817929f, 1.8340081f};
INLINE V root(I n) { return (V)_mm256_permutevar8x32_ps((__m256)load(kRoots), (__m256i)n); }
INLINE V slope(V f) { return f * (0.055511475f * f + 0.24025764f) + 0.6931472f; }  // |f| ≤ 1/16
#else
constexpr int kRootBits = 0;
INLINE V root(I) { return all(1.f); }
INLINE V slope(V f) {  // |f| ≤ 1/2
  const V f2 = f * f, high = f2 * (0.00015476301f * f + 0.001340027f) + (0.009618004f * f + 0.05550328f);
  return f2 * high + (0.2402265f * f + 0.6931472f);
}
#endif
// 1 + e and 1 - e, where e = 2^(scale·x).
struct Exponential {
  V up, down;
};
INLINE Exponential exponential(V x, float scale = 1) {
  constexpr float kShift = 1.5f * (1 << 23 >> kRootBits);  // added and taken away, it rounds
  const V shifted = x * scale + kShift, f = x * scale - (shifted - kShift);
  const I n = (I)shifted;
  const V power = (V)((I)root(n) + (n >> kRootBits << 23)), rest = power * f, s = slope(f);
  const V e = rest * s + power;
  return {1.f + e, 1.f - e};
}

// Gate G in all parts of a vector, from vectors that hold SHARE of the four gates side by side.
template <int SHARE, int G> INLINE V gate(const V *packed) {
  typedef int Lanes __attribute__((vector_size(VL * 4)));
  Lanes lanes{};
#pragma GCC unroll 16
  for (int l = 0; l < VL; l++) lanes[l] = G % SHARE * (VL / SHARE) + l % (VL / SHARE);
  return SHARE == 1 ? packed[G] : __builtin_shuffle(packed[G / SHARE], lanes);
}

// What the two kinds of cell make of the four sums for a vector of units. The weights are scaled so that with e = 2^sum
// every gate is 1/(1 + e), a sigmoid, or (1 - e)/(1 + e), a tanh (RecurrentLayer::scale). Fractions are multiplied out:
// one division takes as long as three products. kMost keeps these in a float's range.
constexpr float kMost = 40, kTanh = -2.8853901f;  // tanh(x) = (1 - 2^(kTanh·x))/(1 + …)
INLINE Exponential of_sum(V x) { return exponential(within(x, kMost)); }
INLINE Exponential of_cell(V x) { return exponential(within(x, -kMost / kTanh), kTanh); }

struct LstmCell {
  static constexpr int gates = 4;  // in a row of weights: i f g o
  // c' = f·c + i·g, h' = o·tanh(c'); `both` of i and g
  INLINE V cell(V both, V down, V f, V c) {
    const V fresh = down * f;
    return (c * both + fresh) / (both * f);
  }
  INLINE V output(Exponential c, V o) { return c.down / (c.up * o); }
  template <int SHARE> INLINE void finish(V *sum, const float *, float *c, float *next) {
    V up[4], down[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4 / SHARE; v++) {
      const Exponential e = of_sum(sum[v]);
      up[v] = e.up, down[v] = e.down;
    }
    const V both = gate<SHARE, 0>(up) * gate<SHARE, 2>(up);
    const V fresh = cell(both, gate<SHARE, 2>(down), gate<SHARE, 1>(up), load(c));
    store(c, fresh);
    store(next, output(of_cell(fresh), gate<SHARE, 3>(up)));
  }
  // The same in four stages, with what is between them in z's four vectors.
  template <int STAGE> INLINE void stage(float *z, const float *, float *c, float *next) {
    if constexpr (STAGE == 0) {
      const Exponential g = of_sum(load(z + 2 * VL));
      store(z, of_sum(load(z)).up * g.up), store(z + 2 * VL, g.down);
    } else if constexpr (STAGE == 1) {
      store(c, cell(load(z), load(z + 2 * VL), of_sum(load(z + VL)).up, load(c)));
    } else if constexpr (STAGE == 2) {
      const Exponential e = of_cell(load(c));
      store(z, e.up), store(z + VL, e.down);
    } else {
      store(next, output({load(z), load(z + VL)}, of_sum(load(z + 3 * VL)).up));
    }
  }
};
struct GruCell {
  static constexpr int gates = 3;  // in a row: r z a or r z b, as an input has no part in b, and h none in a
  // n = tanh(a + r·b), h' = (1 - z)·n + z·h
  INLINE V candidate(V r, V a, V b) { return a + b / r; }
  INLINE V output(Exponential n, V z, V h) {
    const V old = h * n.up;
    return (n.down * (z - 1.f) + old) / (n.up * z);
  }
  template <int SHARE> INLINE void finish(V *sum, const float *h, float *, float *next) {
    const V a = gate<SHARE, 2>(sum), b = gate<SHARE, 3>(sum);
#pragma GCC unroll 2
    for (int v = 0; v < (SHARE == 1 ? 2 : 1); v++) sum[v] = of_sum(sum[v]).up;
    store(next, output(of_sum(candidate(gate<SHARE, 0>(sum), a, b)), gate<SHARE, 1>(sum), load(h)));
  }
  template <int STAGE> INLINE void stage(float *z, const float *h, float *, float *next) {
    if constexpr (STAGE == 0) {
      store(z + 2 * VL, candidate(of_sum(load(z)).up, load(z + 2 * VL), load(z + 3 * VL)));
    } else if constexpr (STAGE == 1) {
      store(z + VL, of_sum(load(z + VL)).up);
    } else if constexpr (STAGE == 2) {
      const Exponential n = of_sum(load(z + 2 * VL));
      store(z, n.up), store(z + 2 * VL, n.down);
    } else {
      store(next, output({load(z), load(z + 2 * VL)}, load(z + VL), load(h)));
    }
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
// SHARE to a vector. CHAINS sums run side by side, each for a part of h, so that none waits for itself.
template <class Cell, int FULL, int SHARE, int CHAINS>
INLINE void recurrent_step(const float *w, ptrdiff_t chunk, const float *bias, const float *x, ptrdiff_t x_stride,
                           int inputs, const float *h, int units, int first, float *c, float *next) {
  constexpr int PACKED = SHARE ? 4 / SHARE : 0, N = 4 * FULL + PACKED;
  w += first * chunk, bias += first * 4 * VL;
  V sum[CHAINS][N];
#pragma GCC unroll 16
  for (int v = 0; v < N; v++) sum[0][v] = load(bias + v * VL);
#pragma GCC unroll 4
  for (int k = 1; k < CHAINS; k++)
#pragma GCC unroll 16
    for (int v = 0; v < N; v++) sum[k][v] = all(0.f);
  for (int i = 0; i < inputs; i++) add_row<Cell, FULL, PACKED, false>(sum[0], x[i * x_stride], w, chunk, i);
  const int part = units / CHAINS;
#pragma GCC unroll 2
  for (int j = 0; j < part; j++)
#pragma GCC unroll 4
    for (int k = 0; k < CHAINS; k++)
      add_row<Cell, FULL, PACKED, true>(sum[k], h[k * part + j], w, chunk, inputs + k * part + j);
  for (int j = CHAINS * part; j < units; j++) add_row<Cell, FULL, PACKED, true>(sum[0], h[j], w, chunk, inputs + j);
#pragma GCC unroll 16
  for (int v = 0; v < N; v++)
    if (CHAINS == 4) sum[0][v] = (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
    else if (CHAINS == 2) sum[0][v] += sum[1][v];
  h += first * VL, c += first * VL, next += first * VL;
#pragma GCC unroll 16
  for (int v = 0; v < FULL; v++, h += VL, c += VL, next += VL) Cell::template finish<1>(sum[0] + 4 * v, h, c, next);
  if constexpr (SHARE > 0) Cell::template finish<SHARE>(sum[0] + 4 * FULL, h, c, next);
}

template <int N> struct Size {
  static constexpr int size = N;
};

// Units for which there is a step of their own, with all sums in registers.
constexpr bool at_once(int units, int full, int share) {
  const bool common = units == 8 || units == 12 || units == 16 || units == 20 || units == 24 || units == 32 || units == 40;
  return common && 4 * full + (share ? 4 / share : 0) <= 10;
}
// Of how many sums: four where only a few units are left, otherwise two as far as the registers go.
constexpr int chains_of(int units, int full, int share) {
  const int together = at_once(units, full, share) ? 4 * full + (share ? 4 / share : 0) : 4;
  return !full ? 4 : 8 * together <= 3 * REGISTERS ? 2 : 1;
}

// What is left of the units after the full vectors, `share` gates to a vector.
template <class Cell>
INLINE void packed_step(const float *w, ptrdiff_t chunk, const float *bias, const float *x, ptrdiff_t x_stride,
                        int inputs, const float *h, int units, int full, int share, int chains, float *c, float *next) {
  const auto step = [&](auto part, auto sums) {
    recurrent_step<Cell, 0, part.size, sums.size>(w, chunk, bias, x, x_stride, inputs, h, units, full, c, next);
  };
  const auto with = [&](auto part) {
    if (chains == 4) step(part, Size<4>{});
    else if (chains == 2) step(part, Size<2>{});
    else step(part, Size<1>{});
  };
  if (share == 2) with(Size<2>{});
  else with(Size<4>{});
}

// UNITS: their number where it is known to the compiler, else 0.
template <class Cell, int UNITS>
static void recurrent_block(const Gates &gates, const float *w, const float *bias, float *state, const float *in,
                            ptrdiff_t in_stride, float *out, ptrdiff_t out_stride, int frames) {
  constexpr int LEFT = UNITS % VL, SHARE = !LEFT || LEFT > VL / 2 ? 0 : LEFT > VL / 4 ? 2 : 4;
  constexpr int FULL = UNITS / VL + (LEFT && !SHARE);
  const int inputs = gates.inputs, units = UNITS ? UNITS : gates.units;
  const int full = gates.full(), share = gates.share(), padded = gates.padded();
  const ptrdiff_t chunk = ptrdiff_t(gates.chunk());
  alignas(64) float hs[2][kMaxUnits];
  float *h = hs[0], *next = hs[1], *const c = state + padded;
  for (int u = 0; u < padded; u += VL) store(h + u, load(state + u));
  for (int f = 0; f < frames; f++) {
    const float *const x = in + f;
    if constexpr (at_once(UNITS, FULL, SHARE)) {
      recurrent_step<Cell, FULL, SHARE, chains_of(UNITS, FULL, SHARE)>(w, chunk, bias, x, in_stride, inputs, h, units, 0, c, next);
    } else {
      // One vector of units after the other; to and fro, as the cache may not hold them all.
      for (int n = 0; n < full; n++) {
        const int v = f % 2 ? full - 1 - n : n;
        recurrent_step<Cell, 1, 0, 2>(w, chunk, bias, x, in_stride, inputs, h, units, v, c, next);
      }
      if (share) packed_step<Cell>(w, chunk, bias, x, in_stride, inputs, h, units, full, share, chains_of(0, full, share), c, next);
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

// ---- Channels together ---------------------------------------------------------------------------------------------
// Channels go in groups whose sums fill the registers, so that a weight, once loaded, serves all of them. What a cell
// makes of its sums, which takes long, is put off: a stage of it is done before each row of the next sums, whose many
// multiplications do not wait for it.

constexpr int kGroup = REGISTERS == 32 ? 4 : 2;
#if VL == 16
#define KEEP(vector) asm("" : "+v"(vector))
#elif VL == 8
#define KEEP(vector) asm("" : "+x"(vector))
#else
#define KEEP(vector)
#endif

// A vector of units of each channel in a group.
struct Part {
  const float *w, *bias;
  int channels, waiting = 0;                      // channels whose sums wait for the cell
  int unit;                                       // the first
  ptrdiff_t row = 0;                              // of h, in floats
  const float *x[kGroup];
  float *h[kGroup], *c[kGroup];                   // h: a row of kTogetherUnits for each frame
  alignas(64) float sum[kGroup][4 * VL];
};

template <class Cell, int STAGE> INLINE void put_off(Part &part, int k) {
  float *const h = part.h[k] + part.row + part.unit;
  Cell::template stage<STAGE>(part.sum[k], h, part.c[k], h + kTogetherUnits);
}
template <class Cell> static void finish_waiting(Part &part) {
  for (int k = 0; k < part.waiting; k++) put_off<Cell, 0>(part, k);
  for (int k = 0; k < part.waiting; k++) put_off<Cell, 1>(part, k);
  for (int k = 0; k < part.waiting; k++) put_off<Cell, 2>(part, k);
  for (int k = 0; k < part.waiting; k++) put_off<Cell, 3>(part, k);
  part.waiting = 0;
}

// What an input (or a unit of h) of each channel gives to the sums.
template <class Cell, int C, bool OF_H>
INLINE void add_rows(V (&sum)[C][4], const float *const (&x)[C], ptrdiff_t at, const float *w) {
  V weights[Cell::gates];
#pragma GCC unroll 4
  for (int g = 0; g < Cell::gates; g++) {
    weights[g] = load(w + g * VL);
    KEEP(weights[g]);
  }
#pragma GCC unroll 4
  for (int k = 0; k < C; k++) {
    V a = all(x[k][at]);
    KEEP(a);
#pragma GCC unroll 4
    for (int g = 0; g < Cell::gates; g++) sum[k][Cell::gates == 3 && g == 2 && OF_H ? 3 : g] += a * weights[g];
  }
}
#undef KEEP

// Rows `from` to `to` of h, with a stage of another part's cells.
template <class Cell, int C, int STAGE>
INLINE void add_part(V (&sum)[C][4], const float *const (&h)[C], const float *w, int from, int to, Part &other) {
  int done = 0;
#pragma GCC unroll 1
  for (int j = from; j < to; j++) {
    if (done < other.waiting) put_off<Cell, STAGE>(other, done++);
    add_rows<Cell, C, true>(sum, h, j, w + j * Cell::gates * VL);
  }
  while (done < other.waiting) put_off<Cell, STAGE>(other, done++);
}

// The sums of a part for a frame, in the order of recurrent_step; `other` is finished meanwhile.
template <class Cell, int C>
static __attribute__((noinline)) void part_step(Part &part, Part &other, ptrdiff_t frame, ptrdiff_t x_stride, int inputs,
                                                int units, bool one_sum) {
  const float *x[C], *h[C];
#pragma GCC unroll 4
  for (int k = 0; k < C; k++) x[k] = part.x[k] + frame, h[k] = part.h[k] + part.row;
  V sum[C][4];
#pragma GCC unroll 4
  for (int k = 0; k < C; k++)
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) sum[k][g] = load(part.bias + g * VL);
  const float *w = part.w;
  for (int i = 0; i < inputs; i++, w += Cell::gates * VL) add_rows<Cell, C, false>(sum, x, i * x_stride, w);
  const int half = units / 2;
  if (one_sum) {
    add_part<Cell, C, 0>(sum, h, w, 0, half / 2, other);
    add_part<Cell, C, 1>(sum, h, w, half / 2, half, other);
    add_part<Cell, C, 2>(sum, h, w, half, half + half / 2, other);
    add_part<Cell, C, 3>(sum, h, w, half + half / 2, units, other);
#pragma GCC unroll 4
    for (int k = 0; k < C; k++)
#pragma GCC unroll 4
      for (int g = 0; g < 4; g++) store(part.sum[k] + g * VL, sum[k][g]);
    other.waiting = 0;
    part.waiting = C;
    return;
  }
  add_part<Cell, C, 0>(sum, h, w, 0, half / 2, other);
  add_part<Cell, C, 1>(sum, h, w, half / 2, half, other);
  if (units % 2) add_rows<Cell, C, true>(sum, h, units - 1, w + (units - 1) * Cell::gates * VL);
#pragma GCC unroll 4
  for (int k = 0; k < C; k++)
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) store(part.sum[k] + g * VL, sum[k][g]), sum[k][g] = all(0.f);
  add_part<Cell, C, 2>(sum, h, w, half, half + half / 2, other);
  add_part<Cell, C, 3>(sum, h, w, half + half / 2, 2 * half, other);
#pragma GCC unroll 4
  for (int k = 0; k < C; k++)
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) store(part.sum[k] + g * VL, load(part.sum[k] + g * VL) + sum[k][g]);
  other.waiting = 0;
  part.waiting = C;  // which may be the same part
}

// A square of VL rows turned: each step exchanges what lies off the diagonal of squares twice as large.
template <int STEP> INLINE void turn(V (&row)[VL]) {
  typedef int Lanes __attribute__((vector_size(VL * 4)));
  Lanes low{}, high{};
#pragma GCC unroll 16
  for (int l = 0; l < VL; l++) low[l] = l & STEP ? VL + (l ^ STEP) : l, high[l] = l & STEP ? VL + l : l ^ STEP;
#pragma GCC unroll 16
  for (int r = 0; r < VL; r++)
    if (!(r & STEP)) {
      const V a = row[r], b = row[r + STEP];
      row[r] = __builtin_shuffle(a, b, low), row[r + STEP] = __builtin_shuffle(a, b, high);
    }
  if constexpr (2 * STEP < VL) turn<2 * STEP>(row);
}

// Units in whole vectors, or so few that they fill none.
template <class Cell>
static void together(const Gates &gates, const float *w, const float *bias, int channels, float *const *states,
                     const float *const *in, ptrdiff_t in_stride, float *const *out, ptrdiff_t out_stride, int frames) {
  const int inputs = gates.inputs, units = gates.units;
  const int full = gates.full(), share = gates.share(), padded = gates.padded();
  const bool one_sum = full && chains_of(units, full, share) == 1;
  const ptrdiff_t chunk = ptrdiff_t(gates.chunk());
  alignas(64) float hs[kTogether][(VL + 1) * kTogetherUnits];  // h of so many frames, after that of the frame before
  for (int k = 0; k < channels; k++)
    for (int u = 0; u < padded; u += VL) store(hs[k] + u, load(states[k] + u));

  Part parts[kTogether / kGroup * kTogetherUnits / VL], *before = parts;
  int count = 0;
  for (int first = 0, size, groups = (channels + kGroup - 1) / kGroup; groups; first += size, groups--) {
    size = (channels - first) / groups;
    for (int v = 0; v < full; v++) {
      Part &part = parts[count++];
      part.w = w + v * chunk, part.bias = bias + v * 4 * VL, part.channels = size, part.unit = v * VL;
      for (int k = 0; k < size; k++)
        part.x[k] = in[first + k], part.h[k] = hs[first + k], part.c[k] = states[first + k] + padded + v * VL;
    }
  }
  for (int start = 0; start < frames; start += VL) {
    const int end = frames - start < VL ? frames - start : VL;
    for (int f = 0; f < end; f++) {
      const ptrdiff_t row = f * kTogetherUnits;
      for (int k = 0; share && k < channels; k++)
        packed_step<Cell>(w, chunk, bias, in[k] + start + f, in_stride, inputs, hs[k] + row, units, 0, share, 4,
                          states[k] + padded, hs[k] + row + kTogetherUnits);
      for (Part *part = parts; part != parts + count; before = part++) {
        part->row = row;
        switch (part->channels) {
          case 1: part_step<Cell, 1>(*part, *before, start + f, in_stride, inputs, units, one_sum); break;
          case 2: part_step<Cell, 2>(*part, *before, start + f, in_stride, inputs, units, one_sum); break;
#if REGISTERS == 32
          case 3: part_step<Cell, 3>(*part, *before, start + f, in_stride, inputs, units, one_sum); break;
          case 4: part_step<Cell, 4>(*part, *before, start + f, in_stride, inputs, units, one_sum); break;
#endif
        }
      }
      if (count && channels <= kGroup) finish_waiting<Cell>(*before);  // the next frame begins with it
    }
    if (count) finish_waiting<Cell>(*before);
    for (int k = 0; k < channels; k++) {
      for (int u = 0; u < units; u += VL) {
        V rows[VL];
#pragma GCC unroll 16
        for (int r = 0; r < VL; r++) rows[r] = load(hs[k] + (r + 1) * kTogetherUnits + u);
        turn<1>(rows);
        float *to = out[k] + u * out_stride + start;
#pragma GCC unroll 16
        for (int r = 0; r < VL; r++, to += out_stride)
          if (u + r < units) store(to, rows[r]);
      }
      for (int u = 0; u < padded; u += VL) store(hs[k] + u, load(hs[k] + end * kTogetherUnits + u));
    }
  }
  for (int k = 0; k < channels; k++)
    for (int u = 0; u < padded; u += VL) store(states[k] + u, load(hs[k] + u));
}
