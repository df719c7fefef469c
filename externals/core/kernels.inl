// Included by kernels.cpp once per instruction set, inside a namespace of its own. Uses nothing from the standard
// library: an inline function compiled here for AVX-512 must never be the one the linker keeps for everybody.

typedef float V __attribute__((vector_size(VL * 4)));
typedef float VU __attribute__((vector_size(VL * 4), aligned(4)));
#define INLINE static inline __attribute__((always_inline))

INLINE V load(const float *p) { return *(const VU *)p; }
INLINE void store(float *p, V v) { *(VU *)p = v; }
INLINE V all(float x) { return x - (V){}; }

#if VL == 16
INLINE V square_root(V x) { return (V)_mm512_sqrt_ps((__m512)x); }
INLINE V clip(V x, V low, V high) { return (V)_mm512_min_ps(_mm512_max_ps((__m512)x, (__m512)low), (__m512)high); }
#elif VL == 8
INLINE V square_root(V x) { return (V)_mm256_sqrt_ps((__m256)x); }
INLINE V clip(V x, V low, V high) { return (V)_mm256_min_ps(_mm256_max_ps((__m256)x, (__m256)low), (__m256)high); }
#else
INLINE V square_root(V x) {
  for (int i = 0; i < VL; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
INLINE V clip(V x, V low, V high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}
#endif

// tanh(x) = s/√(1 + s²) with s = sinh(x) as a polynomial whose coefficients make tanh's greatest error least
// (weighted least squares, iterated): 1.8e-7 in float, everywhere.
INLINE V tanh_(V x) {
  x = clip(x, all(-9.f), all(9.f));
  const V x2 = x * x;
  V p = all(3.420043270807582e-08f);
  p = p * x2 + 2.6123670977540314e-06f;
  p = p * x2 + 1.9923376385122538e-04f;
  p = p * x2 + 8.331659249961376e-03f;
  p = p * x2 + 1.6666758060455322e-01f;
  const V s = x * x2 * p + x;
  return s / square_root(s * s + 1.f);
}
INLINE V sigmoid_(V x) { return tanh_(x * 0.5f) * 0.5f + 0.5f; }
// e^x - 1 where x < 0, by the tangent of half the angle.
INLINE V elu_(V x) {
  const V t = tanh_(x * 0.5f);
  return x > 0.f ? x : 2.f * t / (1.f - t);
}

template <int T, int N>
INLINE void affine_tile_(float *out, ptrdiff_t out_stride, const float *w, const float *bias, const float *add,
                         ptrdiff_t add_stride, const Source *sources, int count) {
  V sum[T][N];
#pragma GCC unroll 8
  for (int t = 0; t < T; t++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) {
      sum[t][v] = all(bias ? bias[t] : 0.f);
      if (add) sum[t][v] += load(add + t * add_stride + v * VL);
    }
  for (int s = 0; s < count; s++) {
    const float *x = sources[s].x;
    const ptrdiff_t stride = sources[s].stride;
#pragma GCC unroll 1
    for (int i = sources[s].channels; i > 0; i--, x += stride, w += T) {
      V in[N];
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) in[v] = load(x + v * VL);
#pragma GCC unroll 8
      for (int t = 0; t < T; t++) {
        const V weight = all(w[t]);
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) sum[t][v] += weight * in[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; t++)
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) store(out + t * out_stride + v * VL, sum[t][v]);
}

template <int T, int N>
INLINE void affine_rows(float *out, ptrdiff_t out_stride, const float *w, const float *bias, const float *add,
                        ptrdiff_t add_stride, const Source *sources, int count, int frames) {
  Source moved[kMaxSources];
  for (int s = 0; s < count; s++) moved[s] = sources[s];
  int f = 0;
  for (; f + (N - 1) * VL < frames; f += N * VL) {
    affine_tile_<T, N>(out + f, out_stride, w, bias, add ? add + f : add, add_stride, moved, count);
    for (int s = 0; s < count; s++) moved[s].x += N * VL;
  }
  for (; f < frames; f += VL) {
    affine_tile_<T, 1>(out + f, out_stride, w, bias, add ? add + f : add, add_stride, moved, count);
    for (int s = 0; s < count; s++) moved[s].x += VL;
  }
}

static void affine(float *out, ptrdiff_t out_stride, int outs, const float *w, const float *bias, const float *add,
                   ptrdiff_t add_stride, const Source *sources, int count, int frames) {
  int inputs = 0;
  for (int s = 0; s < count; s++) inputs += sources[s].channels;
  for (int o = 0; o < outs;) {
    const int tile = affine_tile(outs - o);
    switch (tile) {
      case 8: affine_rows<8, WIDE>(out, out_stride, w, bias, add, add_stride, sources, count, frames); break;
      case 4: affine_rows<4, 2 * WIDE>(out, out_stride, w, bias, add, add_stride, sources, count, frames); break;
      case 2: affine_rows<2, 4>(out, out_stride, w, bias, add, add_stride, sources, count, frames); break;
      default: affine_rows<1, 4>(out, out_stride, w, bias, add, add_stride, sources, count, frames); break;
    }
    o += tile;
    w += (ptrdiff_t)tile * inputs;
    out += tile * out_stride;
    if (bias) bias += tile;
    if (add) add += tile * add_stride;
  }
}

template <class F> INLINE void each(float *x, ptrdiff_t stride, int channels, int frames, F f) {
  for (int c = 0; c < channels; c++, x += stride)
    for (int i = 0; i < frames; i += VL) store(x + i, f(load(x + i)));
}

static void activate(Activation kind, float *x, ptrdiff_t stride, int channels, int frames) {
  switch (kind) {
    case Activation::none: break;
    case Activation::tanh: each(x, stride, channels, frames, [](V v) { return tanh_(v); }); break;
    case Activation::sigmoid: each(x, stride, channels, frames, [](V v) { return sigmoid_(v); }); break;
    case Activation::relu: each(x, stride, channels, frames, [](V v) { return v > 0.f ? v : all(0.f); }); break;
    case Activation::leaky_relu: each(x, stride, channels, frames, [](V v) { return v > 0.f ? v : v * 0.01f; }); break;
    case Activation::hardtanh: each(x, stride, channels, frames, [](V v) { return clip(v, all(-1.f), all(1.f)); }); break;
    case Activation::silu: each(x, stride, channels, frames, [](V v) { return v * sigmoid_(v); }); break;
    case Activation::hardswish:
      each(x, stride, channels, frames, [](V v) { return v * clip(v + 3.f, all(0.f), all(6.f)) * (1.f / 6.f); });
      break;
    case Activation::softsign:
      each(x, stride, channels, frames, [](V v) { return v / ((v > 0.f ? v : -v) + 1.f); });
      break;
    case Activation::elu: each(x, stride, channels, frames, [](V v) { return elu_(v); }); break;
  }
}

static void multiply(float *x, ptrdiff_t x_stride, const float *y, ptrdiff_t y_stride, int channels, int frames) {
  for (int c = 0; c < channels; c++)
    for (int i = 0; i < frames; i += VL) {
      float *p = x + c * x_stride + i;
      store(p, load(p) * load(y + c * y_stride + i));
    }
}

static void add(float *x, ptrdiff_t x_stride, const float *y, ptrdiff_t y_stride, int channels, int frames) {
  for (int c = 0; c < channels; c++)
    for (int i = 0; i < frames; i += VL) {
      float *p = x + c * x_stride + i;
      store(p, load(p) + load(y + c * y_stride + i));
    }
}

static void fir(float *out, const float *x, const float *taps, int count, float bias, int frames) {
  int f = 0;
  for (; f + 3 * VL < frames; f += 4 * VL) {
    V sum[4] = {all(bias), all(bias), all(bias), all(bias)};
    for (int k = 0; k < count; k++)
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) sum[v] += taps[k] * load(x + f + v * VL - k);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) store(out + f + v * VL, sum[v]);
  }
  for (; f < frames; f += VL) {
    V sum = all(bias);
    for (int k = 0; k < count; k++) sum += taps[k] * load(x + f - k);
    store(out + f, sum);
  }
}

static void multiply_spectra(float *y_re, float *y_im, const float *a_re, const float *a_im, const float *b_re,
                             const float *b_im, int n) {
  for (int i = 0; i < n; i += VL) {
    const V ar = load(a_re + i), ai = load(a_im + i), br = load(b_re + i), bi = load(b_im + i);
    store(y_re + i, load(y_re + i) + ar * br - ai * bi);
    store(y_im + i, load(y_im + i) + ar * bi + ai * br);
  }
}

static void lstm_step(float *xh, float *c, const float *w, const float *bias, int inputs, int padded, int units) {
  // The new h must not be read by this step's later units, so it is kept apart until the end.
  float h[kMaxUnits];
  const int rows = inputs + units;
  for (int u = 0; u < padded; u += VL) {
    V gate[4], more[4];  // two sums in turn hide the latency of the multiply-add
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
      gate[g] = load(bias + g * padded + u);
      more[g] = all(0.f);
    }
    const float *row = w + u;
    int j = 0;
    for (; j + 1 < rows; j += 2, row += 8 * padded) {
      const V a = all(xh[j]), b = all(xh[j + 1]);
#pragma GCC unroll 4
      for (int g = 0; g < 4; g++) {
        gate[g] += a * load(row + g * padded);
        more[g] += b * load(row + (4 + g) * padded);
      }
    }
    if (j < rows) {
      const V a = all(xh[j]);
#pragma GCC unroll 4
      for (int g = 0; g < 4; g++) gate[g] += a * load(row + g * padded);
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) gate[g] += more[g];
    const V cell = sigmoid_(gate[1]) * load(c + u) + sigmoid_(gate[0]) * tanh_(gate[2]);
    store(c + u, cell);
    store(h + u, sigmoid_(gate[3]) * tanh_(cell));
  }
  for (int u = 0; u < units; u++) xh[inputs + u] = h[u];
}

static void gru_step(float *xh, const float *w, const float *bias, int inputs, int padded, int units) {
  float h[kMaxUnits];
  for (int u = 0; u < padded; u += VL) {
    V r = load(bias + u), z = load(bias + padded + u), n = load(bias + 2 * padded + u), recurrent = load(bias + 3 * padded + u);
    V more[3] = {};  // as in lstm_step
    const float *row = w + u;
    for (int j = 0; j < inputs; j++, row += 3 * padded) {
      const V a = all(xh[j]);
      r += a * load(row);
      z += a * load(row + padded);
      n += a * load(row + 2 * padded);
    }
    int j = inputs;
    const int rows = inputs + units;
    for (; j + 1 < rows; j += 2, row += 6 * padded) {
      const V a = all(xh[j]), b = all(xh[j + 1]);
      r += a * load(row);
      z += a * load(row + padded);
      recurrent += a * load(row + 2 * padded);
#pragma GCC unroll 3
      for (int g = 0; g < 3; g++) more[g] += b * load(row + (3 + g) * padded);
    }
    if (j < rows) {
      const V a = all(xh[j]);
      r += a * load(row);
      z += a * load(row + padded);
      recurrent += a * load(row + 2 * padded);
    }
    n = tanh_(n + sigmoid_(r + more[0]) * (recurrent + more[2]));
    store(h + u, n + sigmoid_(z + more[1]) * (load(xh + inputs + u) - n));
  }
  for (int u = 0; u < units; u++) xh[inputs + u] = h[u];
}

extern const Kernels table;
const Kernels table = {ISA_NAME, affine, activate, multiply, add, fir, multiply_spectra, lstm_step, gru_step};

#undef INLINE
