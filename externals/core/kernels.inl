// Included by kernels.cpp once per instruction set, inside a namespace of its own. Uses nothing from the standard
// library: an inline function compiled here for AVX-512 must never be the one the linker keeps for everybody.

typedef float V __attribute__((vector_size(VL * 4)));
typedef float VU __attribute__((vector_size(VL * 4), aligned(4)));
#define INLINE static inline __attribute__((always_inline))

INLINE V load(const float *p) { return *(const VU *)p; }
INLINE void store(float *p, V v) { *(VU *)p = v; }
INLINE V all(float x) { return x - (V){}; }

// 1/√x to the last bit or two: the CPU's estimate and a step of Newton's.
#if VL == 16
INLINE V inverse_root(V x) {
  const V r = (V)_mm512_rsqrt14_ps((__m512)x);
  return r + r * 0.5f * (1.f - x * r * r);
}
INLINE V clip(V x, V low, V high) { return (V)_mm512_min_ps(_mm512_max_ps((__m512)x, (__m512)low), (__m512)high); }
INLINE V limit(V x, float most) { return (V)_mm512_range_ps((__m512)x, (__m512)all(most), 2); }  // the lesser magnitude, x's sign
#elif VL == 8
INLINE V inverse_root(V x) {
  const V r = (V)_mm256_rsqrt_ps((__m256)x);
  return r + r * 0.5f * (1.f - x * r * r);
}
INLINE V clip(V x, V low, V high) { return (V)_mm256_min_ps(_mm256_max_ps((__m256)x, (__m256)low), (__m256)high); }
INLINE V limit(V x, float most) { return clip(x, all(-most), all(most)); }
#elif defined(__aarch64__)
INLINE V inverse_root(V x) {
  V r = (V)vrsqrteq_f32((float32x4_t)x);
  r *= (V)vrsqrtsq_f32((float32x4_t)(x * r), (float32x4_t)r);
  return r * (V)vrsqrtsq_f32((float32x4_t)(x * r), (float32x4_t)r);
}
INLINE V clip(V x, V low, V high) {
  return (V)vminnmq_f32(vmaxnmq_f32((float32x4_t)x, (float32x4_t)low), (float32x4_t)high);
}
INLINE V limit(V x, float most) { return clip(x, all(-most), all(most)); }
#else
INLINE V inverse_root(V x) {
  for (int i = 0; i < VL; i++) x[i] = 1.f / __builtin_sqrtf(x[i]);
  return x;
}
INLINE V clip(V x, V low, V high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}
INLINE V limit(V x, float most) { return clip(x, all(-most), all(most)); }
#endif

// tanh(x) = s/√(1 + s²) with s = sinh(x) as a polynomial whose coefficients make tanh's greatest error least
// (weighted least squares, iterated): 1.8e-7 in float, everywhere.
INLINE V tanh_(V x) {
  x = limit(x, 9.f);
  const V x2 = x * x;
  V p = all(3.420043270807582e-08f);
  p = p * x2 + 2.6123670977540314e-06f;
  p = p * x2 + 1.9923376385122538e-04f;
  p = p * x2 + 8.331659249961376e-03f;
  p = p * x2 + 1.6666758060455322e-01f;
  const V s = x * x2 * p + x;
  return s * inverse_root(s * s + 1.f);
}
INLINE V sigmoid_(V x) { return tanh_(x * 0.5f) * 0.5f + 0.5f; }
// e^x - 1 where x < 0, by the tangent of half the angle.
INLINE V elu_(V x) {
  const V t = tanh_(x * 0.5f);
  return x > 0.f ? x : 2.f * t / (1.f - t);
}

// z += w·in, for T outputs. Vectors of four take four weights at a time, wider ones are quicker with one.
template <int L> INLINE V lane(V v) {
  typedef int Lanes __attribute__((vector_size(VL * 4)));
  return __builtin_shuffle(v, Lanes{L, L, L, L});
}
template <int N> INLINE void accumulate_row(V (&z)[N], V weight, const V (&in)[N]) {
#pragma GCC unroll 8
  for (int v = 0; v < N; v++) z[v] += weight * in[v];
}
template <int T, int N> INLINE void accumulate(V (&z)[T][N], const float *w, const V (&in)[N]) {
  if constexpr (VL == 4 && T % 4 == 0) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t += 4) {
      const V weights = load(w + t);
      accumulate_row(z[t], lane<0>(weights), in);
      accumulate_row(z[t + 1], lane<1>(weights), in);
      accumulate_row(z[t + 2], lane<2>(weights), in);
      accumulate_row(z[t + 3], lane<3>(weights), in);
    }
  } else {
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) accumulate_row(z[t], all(w[t]), in);
  }
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
      accumulate(sum, w, in);
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

// Into registers, and to stay there: GCC would read the row again for every output, across two cache lines each time.
#if VL == 16
#define KEEP(vector) asm("" : "+v"(vector))
#elif VL == 8
#define KEEP(vector) asm("" : "+x"(vector))
#else
#define KEEP(vector)
#endif
template <int N> INLINE void load_row(V (&in)[N], const float *x) {
#pragma GCC unroll 8
  for (int v = 0; v < N; v++) {
    in[v] = load(x + v * VL);
    KEEP(in[v]);
  }
}
#undef KEEP
// The same for the C channels of a tap: unrolled only where they are few, or the code would leave its cache.
template <int C, int T, int N> INLINE void accumulate_tap(V (&z)[T][N], const float *w, const float *x, ptrdiff_t stride) {
  V in[N];
  if constexpr (C <= 4) {
#pragma GCC unroll 4
    for (int i = 0; i < C; i++) load_row(in, x + i * stride), accumulate(z, w + i * T, in);
  } else {
#pragma GCC unroll 1
    for (int i = 0; i < C; i++) load_row(in, x + i * stride), accumulate(z, w + i * T, in);
  }
}

struct Tanh {
  static V of(V x, const WaveNetLayer &, int) { return tanh_(x); }
};
struct LeakyRelu {
  static V of(V x, const WaveNetLayer &layer, int channel) { return x <= 0.f ? x * layer.slopes[channel] : x; }
};

// N vectors of frames of a layer with C channels and K taps (any number where K is 0), T outputs at a time.
template <int C, int K, int T, int N, class F>
INLINE void layer_tile_(const WaveNetLayer &layer, const float *x, ptrdiff_t x_stride, const float *condition, float *head,
                        bool first, float *next, ptrdiff_t next_stride) {
  const int taps = K ? K : layer.taps;
  V a[C][N];  // what goes on to the 1×1 layer; small enough to stay in the first cache
#pragma GCC unroll 1
  for (int o = 0; o < C; o += T) {
    const float *w = layer.conv + (ptrdiff_t)o * (taps * C + 1);
    V z[T][N];
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) z[t][v] = all(layer.bias[o + t]);
    const float *tap = x - (ptrdiff_t)(taps - 1) * layer.dilation;
#pragma GCC unroll 1
    for (int k = 0; k < taps; k++, tap += layer.dilation) accumulate_tap<C, T, N>(z, w + k * C * T, tap, x_stride);
    V in[N];
    load_row(in, condition);
    accumulate(z, w + taps * C * T, in);
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) a[o + t][v] = z[t][v];
    // Activations of so many rows side by side that none waits for its own steps; wider CPUs also look further ahead.
    constexpr int G = VL > 4 ? T : T % 2 ? 1 : 2;
#pragma GCC unroll 1
    for (int t = o; t < o + T; t += G) {
      float *const sum = head + (ptrdiff_t)t * kRow;
      V y[G][N];
#pragma GCC unroll 16
      for (int g = 0; g < G; g++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) a[t + g][v] = y[g][v] = F::of(a[t + g][v], layer, t + g);
      if (!first)
#pragma GCC unroll 16
        for (int g = 0; g < G; g++)
#pragma GCC unroll 8
          for (int v = 0; v < N; v++) y[g][v] += load(sum + g * kRow + v * VL);
#pragma GCC unroll 16
      for (int g = 0; g < G; g++)
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) store(sum + g * kRow + v * VL, y[g][v]);
    }
  }
  if (!next) return;
#pragma GCC unroll 1
  for (int o = 0; o < C; o += T) {
    const float *w = layer.out + (ptrdiff_t)o * C;
    V y[T][N];
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) y[t][v] = load(x + (o + t) * x_stride + v * VL) + layer.out_bias[o + t];
    if constexpr (C <= 4) {
#pragma GCC unroll 4
      for (int i = 0; i < C; i++) accumulate(y, w + i * T, a[i]);
    } else {
#pragma GCC unroll 1
      for (int i = 0; i < C; i++) accumulate(y, w + i * T, a[i]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) store(next + (o + t) * next_stride + v * VL, y[t][v]);
  }
}

template <int C, int K, int T, int N, class F>
static void layer_rows(const WaveNetLayer &layer, const float *x, ptrdiff_t x_stride, const float *condition, float *head,
                       bool first, float *next, ptrdiff_t next_stride, int frames) {
  int f = 0;
  for (; f + (N - 1) * VL < frames; f += N * VL)
    layer_tile_<C, K, T, N, F>(layer, x + f, x_stride, condition + f, head + f, first, next ? next + f : next, next_stride);
  for (; f < frames; f += VL)
    layer_tile_<C, K, T, 1, F>(layer, x + f, x_stride, condition + f, head + f, first, next ? next + f : next, next_stride);
}

template <int K, class F> static decltype(WaveNetLayer::run) layer_for(int channels) {
  switch (channels) {
    case 16: return layer_rows<16, K, LAYER_TILE, 2, F>;
    case 8: return layer_rows<8, K, LAYER_TILE, 2, F>;
    case 4: return layer_rows<4, K, 4, WIDE * 2, F>;
    case 3: return layer_rows<3, K, 3, WIDE + 2, F>;
    case 2: return layer_rows<2, K, 2, 4, F>;
    default: return nullptr;
  }
}

static decltype(WaveNetLayer::run) wavenet_layer(int channels, int taps, Activation activation) {
  switch (activation) {
    case Activation::tanh: return taps == 3 ? layer_for<3, Tanh>(channels) : layer_for<0, Tanh>(channels);
    case Activation::leaky_relu: return taps == 6 ? layer_for<6, LeakyRelu>(channels) : layer_for<0, LeakyRelu>(channels);
    default: return nullptr;
  }
}

template <class F> INLINE void each(float *x, ptrdiff_t stride, int channels, int frames, F f) {
  for (int c = 0; c < channels; c++, x += stride)
    for (int i = 0; i < frames; i += VL) store(x + i, f(load(x + i)));
}

static void activate(Activation kind, const float *params, float *x, ptrdiff_t stride, int channels, int frames) {
  switch (kind) {
    case Activation::none: break;
    case Activation::tanh: each(x, stride, channels, frames, [](V v) { return tanh_(v); }); break;
    case Activation::sigmoid: each(x, stride, channels, frames, [](V v) { return sigmoid_(v); }); break;
    case Activation::relu: each(x, stride, channels, frames, [](V v) { return v > 0.f ? v : all(0.f); }); break;
    case Activation::leaky_relu:
      for (int c = 0; c < channels; c++) {
        const V slope = all(params[c]);
        each(x + c * stride, stride, 1, frames, [slope](V v) { return v <= 0.f ? v * slope : v; });
      }
      break;
    case Activation::hardtanh: {
      const V low = all(params[0]), high = all(params[1]);
      each(x, stride, channels, frames, [low, high](V v) { return clip(v, low, high); });
      break;
    }
    case Activation::leaky_hardtanh: {
      const V low = all(params[0]), high = all(params[1]), below = all(params[2]), above = all(params[3]);
      each(x, stride, channels, frames, [low, high, below, above](V v) {
        return v < low ? (v - low) * below + low : v > high ? (v - high) * above + high : v;
      });
      break;
    }
    case Activation::silu:  // far below zero what is left of 1e-7 must not be multiplied
      each(x, stride, channels, frames, [](V v) { return v < -18.f ? all(0.f) : v * sigmoid_(v); });
      break;
    case Activation::hardswish:
      each(x, stride, channels, frames, [](V v) { return v * clip(v + 3.f, all(0.f), all(6.f)) * (1.f / 6.f); });
      break;
    case Activation::softsign:
      each(x, stride, channels, frames, [](V v) { return v / ((v > 0.f ? v : -v) + 1.f); });
      break;
    case Activation::softsigmoid:
      each(x, stride, channels, frames, [](V v) { return v / ((v > 0.f ? v : -v) + 1.f) * 0.5f + 0.5f; });
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

#include "recurrent.inl"

extern const Kernels table;
const Kernels table = {ISA_NAME, VL, wavenet_layer, LAYER_TILE, affine, activate, multiply, add, fir, multiply_spectra,
                       recurrent<LstmCell>, recurrent<GruCell>, together<LstmCell>, together<GruCell>};

#undef INLINE
