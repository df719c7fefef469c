// Included by train_kernels.cpp once per instruction set, inside a namespace of its own.

#include "vector.inl"

constexpr int kParts = kLanes / VL;  // vectors of a channel
constexpr int kTile = REGISTERS == 32 ? 8 : 4;

// As clip, but what is no number stays so: a training has to see it.
#if VL == 16
INLINE V within(V x, float most) {
  return (V)_mm512_max_ps((__m512)all(-most), _mm512_min_ps((__m512)all(most), (__m512)x));
}
#elif VL == 8
INLINE V within(V x, float most) {
  return (V)_mm256_max_ps((__m256)all(-most), _mm256_min_ps((__m256)all(most), (__m256)x));
}
#elif defined(__aarch64__)
INLINE V within(V x, float most) {
  return (V)vmaxq_f32((float32x4_t)all(-most), vminq_f32((float32x4_t)all(most), (float32x4_t)x));
}
#else
INLINE V within(V x, float most) {
  x = x > most ? all(most) : x;
  return x < -most ? all(-most) : x;
}
#endif
INLINE V tangent(V x) { return tanh_within(within(x, kTanhEnd)); }
INLINE V logistic(V x) { return tangent(x * 0.5f) * 0.5f + 0.5f; }

// Vectors are counted through the parts of a channel and then through time. Where vector v of a channel lies:
INLINE ptrdiff_t place(ptrdiff_t v, ptrdiff_t step) { return v / kParts * step + v % kParts * VL; }

// ---- Sums -------------------------------------------------------------------------------------------------------

// T outputs, N vectors from the v-th.
template <int T, int N>
INLINE void affine_block(Rows out, const float *w, Rows add, const Term *terms, int count, int v) {
  V sum[T][N];
#pragma GCC unroll 8
  for (int t = 0; t < T; t++)
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) sum[t][n] = all(0.f);
  if (add.x) {
    const float *const from = add.x + place(v, add.step);
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) sum[t][n] = load(from + t * kLanes + place(n, add.step));
  }
#pragma GCC unroll 1
  for (int k = 0; k < count; k++) {
    const ptrdiff_t step = terms[k].rows.step;
    const float *x = terms[k].rows.x + place(v, step);
#pragma GCC unroll 1
    for (int i = terms[k].channels; i > 0; i--, x += kLanes, w += T) {
      V in[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) {
        in[n] = load(x + place(n, step));
        KEEP(in[n]);
      }
      accumulate<T>(sum, w, in);
    }
  }
  float *const to = out.x + place(v, out.step);
#pragma GCC unroll 8
  for (int t = 0; t < T; t++)
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) store(to + t * kLanes + place(n, out.step), sum[t][n]);
}

template <int T, int N>
static NOINLINE void affine_blocks(Rows out, const float *w, Rows add, const Term *terms, int count, int vectors) {
  int v = 0;
  for (; v + N <= vectors; v += N) affine_block<T, N>(out, w, add, terms, count, v);
  for (; v < vectors; v++) affine_block<T, 1>(out, w, add, terms, count, v);
}

static void affine(Rows out, int outs, const float *w, Rows add, const Term *terms, int count, int steps) {
  // So many vectors at a time that the sums, the inputs and a weight fill the registers; whole times, or parts of one.
  constexpr int kWith8 = VL == 16 ? 3 : 2, kWith4 = VL == 16 ? 6 : REGISTERS == 32 ? 4 : 2;
  constexpr int kWith3 = VL == 16 ? 8 : REGISTERS == 32 ? 4 : 2, kWith2 = REGISTERS == 32 ? 8 : 4;
  int inputs = 0;
  for (int k = 0; k < count; k++) inputs += terms[k].channels;
  const int vectors = steps * kParts;
  for (int o = 0, tile; o < outs; o += tile, w += (ptrdiff_t)tile * inputs) {
    tile = train_tile(outs - o, kTile);
    const Rows to = out.channel(o), from = add.x ? add.channel(o) : add;
    switch (tile) {
      case 8:
        if constexpr (kTile == 8) affine_blocks<8, kWith8>(to, w, from, terms, count, vectors);
        break;
      case 4: affine_blocks<4, kWith4>(to, w, from, terms, count, vectors); break;
      case 3: affine_blocks<3, kWith3>(to, w, from, terms, count, vectors); break;
      case 2: affine_blocks<2, kWith2>(to, w, from, terms, count, vectors); break;
      default: affine_blocks<1, 8>(to, w, from, terms, count, vectors); break;
    }
  }
}

typedef float Four __attribute__((vector_size(16)));
INLINE void add_folded(float *sum, V v) {
  alignas(64) float parts[VL];
  store(parts, v);
  Four total = *(const Four *)sum;
#pragma GCC unroll 4
  for (int i = 0; i < VL; i += 4) total += *(const Four *)(parts + i);
  *(Four *)sum = total;
}

template <int O, int I> static NOINLINE void outer_block(float *sums, ptrdiff_t row, Rows a, Rows b, int vectors) {
  V sum[O][I];
#pragma GCC unroll 4
  for (int o = 0; o < O; o++)
#pragma GCC unroll 4
    for (int i = 0; i < I; i++) sum[o][i] = all(0.f);
#pragma GCC unroll 1
  for (int v = 0; v < vectors; v++) {
    const float *const x = a.x + place(v, a.step), *const y = b.x + place(v, b.step);
    V left[O];
#pragma GCC unroll 4
    for (int o = 0; o < O; o++) {
      left[o] = load(x + o * kLanes);
      KEEP(left[o]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < I; i++) {
      V right = load(y + i * kLanes);
      KEEP(right);
#pragma GCC unroll 4
      for (int o = 0; o < O; o++) sum[o][i] += left[o] * right;
    }
  }
  for (int o = 0; o < O; o++)
    for (int i = 0; i < I; i++) add_folded(sums + (o * row + i) * 4, sum[o][i]);
}

template <int O> static void outer_rows(float *sums, ptrdiff_t row, Rows a, Rows b, int ins, int vectors) {
  constexpr int kMost = REGISTERS == 32 ? 4 : 2;
  for (int i = 0; i < ins;) {
    float *const to = sums + i * 4;
    const Rows from = b.channel(i);
    const int left = ins - i;
    if (left >= kMost) outer_block<O, kMost>(to, row, a, from, vectors), i += kMost;
    else if (left == 3) outer_block<O, 3>(to, row, a, from, vectors), i += 3;
    else if (left == 2) outer_block<O, 2>(to, row, a, from, vectors), i += 2;
    else outer_block<O, 1>(to, row, a, from, vectors), i += 1;
  }
}

// A few times at once: where channels lie a power of two apart, only so many of them fit into the first cache.
static void outer(float *sums, ptrdiff_t row, Rows a, int outs, Rows b, int ins, int steps) {
  constexpr int kTogether = 32;
  for (int t = 0; t < steps; t += kTogether) {
    const int vectors = (steps - t < kTogether ? steps - t : kTogether) * kParts;
    const Rows left = a.at(t), right = b.at(t);
    for (int o = 0; o < outs; o += 4) {
      float *const to = sums + o * row * 4;
      switch (outs - o) {
        case 1: outer_rows<1>(to, row, left.channel(o), right, ins, vectors); break;
        case 2: outer_rows<2>(to, row, left.channel(o), right, ins, vectors); break;
        case 3: outer_rows<3>(to, row, left.channel(o), right, ins, vectors); break;
        default: outer_rows<4>(to, row, left.channel(o), right, ins, vectors); break;
      }
    }
  }
}

// ---- One number at a time -----------------------------------------------------------------------------------------

// `work` for all vectors: how far it is from the first one of each.
template <class Work> INLINE void each(int channels, int steps, Work work) {
  for (int t = 0; t < steps; t++)
#pragma GCC unroll 2
    for (int i = 0; i < channels * kLanes; i += VL) work(t, i);
}

static void add(Rows x, Rows y, int channels, int steps) {
  each(channels, steps, [=](int t, int i) {
    float *const to = x.x + t * x.step + i;
    store(to, load(to) + load(y.x + t * y.step + i));
  });
}

template <class F> INLINE void replace(Rows x, int channels, int steps, F f) {
  each(channels, steps, [=](int t, int i) {
    float *const to = x.x + t * x.step + i;
    store(to, f(load(to)));
  });
}

INLINE V magnitude(V x) { return x < 0.f ? -x : x; }

static void activate(Activation kind, float slope, Rows x, int channels, int steps) {
  switch (kind) {
    case Activation::tanh: return replace(x, channels, steps, [](V v) { return tangent(v); });
    case Activation::sigmoid: return replace(x, channels, steps, [](V v) { return logistic(v); });
    case Activation::relu: return replace(x, channels, steps, [](V v) { return v < 0.f ? all(0.f) : v; });
    case Activation::leaky_relu: return replace(x, channels, steps, [slope](V v) { return v < 0.f ? v * slope : v; });
    case Activation::hardtanh: return replace(x, channels, steps, [](V v) { return within(v, 1.f); });
    case Activation::softsign: return replace(x, channels, steps, [](V v) { return v / (magnitude(v) + 1.f); });
    default: return;
  }
}

template <class F> INLINE void multiply(Rows x, Rows gradient, int channels, int steps, F slope) {
  each(channels, steps, [=](int t, int i) {
    float *const to = x.x + t * x.step + i;
    store(to, load(gradient.x + t * gradient.step + i) * slope(load(to)));
  });
}

static void derive(Activation kind, float slope, Rows x, Rows gradient, int channels, int steps) {
  switch (kind) {
    case Activation::tanh: return multiply(x, gradient, channels, steps, [](V y) { return 1.f - y * y; });
    case Activation::sigmoid: return multiply(x, gradient, channels, steps, [](V y) { return y - y * y; });
    case Activation::relu:
      return multiply(x, gradient, channels, steps, [](V y) { return y > 0.f ? all(1.f) : all(0.f); });
    case Activation::leaky_relu:
      return multiply(x, gradient, channels, steps, [slope](V y) { return y > 0.f ? all(1.f) : all(slope); });
    case Activation::hardtanh:
      return multiply(x, gradient, channels, steps, [](V y) { return magnitude(y) < 1.f ? all(1.f) : all(0.f); });
    case Activation::softsign:
      return multiply(x, gradient, channels, steps, [](V y) {
        const V left = 1.f - magnitude(y);
        return left * left;
      });
    default: return multiply(x, gradient, channels, steps, [](V) { return all(1.f); });
  }
}

static void gate(Rows out, Rows x, int channels, int steps) {
  each(channels, steps, [=](int t, int i) {
    const float *const from = x.x + t * x.step + i;
    store(out.x + t * out.step + i, load(from) * load(from + channels * kLanes));
  });
}

static void derive_gate(Rows x, Rows gradient, int channels, int steps) {
  each(channels, steps, [=](int t, int i) {
    float *const first = x.x + t * x.step + i, *const second = first + channels * kLanes;
    const V d = load(gradient.x + t * gradient.step + i), y = load(first), g = load(second);
    store(first, d * g * (1.f - y * y));
    store(second, d * y * (g - g * g));
  });
}

// ---- Recurrent cells ------------------------------------------------------------------------------------------------

static void lstm(Rows z, Rows c, Rows c_next, Rows h_next, int units, int steps) {
  const int gate = units * kLanes;
  each(units, steps, [=](int t, int u) {
    float *const at = z.x + t * z.step + u;
    const V i = logistic(load(at)), f = logistic(load(at + gate)), g = tangent(load(at + 2 * gate)),
            o = logistic(load(at + 3 * gate)), now = f * load(c.x + t * c.step + u) + i * g;
    store(at, i), store(at + gate, f), store(at + 2 * gate, g), store(at + 3 * gate, o);
    store(c_next.x + t * c_next.step + u, now);
    store(h_next.x + t * h_next.step + u, o * tangent(now));
  });
}

static void derive_lstm(Rows z, Rows c, Rows c_next, Rows dh, Rows dc, int units, int steps) {
  const int gate = units * kLanes;
  each(units, steps, [=](int t, int u) {
    float *const at = z.x + t * z.step + u, *const carried = dc.x + t * dc.step + u;
    const V i = load(at), f = load(at + gate), g = load(at + 2 * gate), o = load(at + 3 * gate);
    const V y = tangent(load(c_next.x + t * c_next.step + u)), d = load(dh.x + t * dh.step + u);
    const V cell = load(carried) + d * o * (1.f - y * y);
    store(carried, cell * f);
    store(at, cell * g * (i - i * i));
    store(at + gate, cell * load(c.x + t * c.step + u) * (f - f * f));
    store(at + 2 * gate, cell * i * (1.f - g * g));
    store(at + 3 * gate, d * y * (o - o * o));
  });
}

static void gru(Rows z, Rows h, Rows h_next, int units, int steps) {
  const int gate = units * kLanes;
  each(units, steps, [=](int t, int u) {
    float *const at = z.x + t * z.step + u;
    const V keep = logistic(load(at)), r = logistic(load(at + gate));
    const V n = tangent(load(at + 2 * gate) + r * load(at + 3 * gate));
    store(at, keep), store(at + gate, r), store(at + 2 * gate, n);
    store(h_next.x + t * h_next.step + u, n + keep * (load(h.x + t * h.step + u) - n));
  });
}

static void derive_gru(Rows z, Rows h, Rows dh, int units, int steps) {
  const int gate = units * kLanes;
  each(units, steps, [=](int t, int u) {
    float *const at = z.x + t * z.step + u, *const carried = dh.x + t * dh.step + u;
    const V keep = load(at), r = load(at + gate), n = load(at + 2 * gate), from_h = load(at + 3 * gate);
    const V d = load(carried), dn = d * (1.f - keep) * (1.f - n * n);
    store(carried, d * keep);
    store(at, d * (load(h.x + t * h.step + u) - n) * (keep - keep * keep));
    store(at + gate, dn * from_h * (r - r * r));
    store(at + 2 * gate, dn);
    store(at + 3 * gate, dn * r);
  });
}

extern const TrainKernels table;
const TrainKernels table = {ISA_NAME, kTile,       affine, outer, add,         activate, derive,
                            gate,     derive_gate, lstm,   derive_lstm, gru, derive_gru};

#undef INLINE
#undef NOINLINE
#undef KEEP
