// Included by kernels.cpp once per instruction set, inside a namespace of its own.

#include "vector.inl"

// e^x - 1 where x < 0, by the tangent of half the angle.
INLINE V elu_(V x) {
  const V t = tanh_(x * 0.5f);
  return x > 0.f ? x : 2.f * t / (1.f - t);
}

// The same for weights in one tile of Each, or two, `tile_floats` apart.
template <int Each, int T, int N> INLINE void accumulate(V (&z)[T][N], const float *w, ptrdiff_t tile_floats, const V (&in)[N]) {
  accumulate<Each>(z, w, in);
  if constexpr (T > Each) accumulate<Each>(z + Each, w + tile_floats, in);
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
      accumulate<T>(sum, w, in);
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

template <int N> INLINE void load_row(V (&in)[N], const float *x) {
#pragma GCC unroll 8
  for (int v = 0; v < N; v++) {
    in[v] = load(x + v * VL);
    KEEP(in[v]);
  }
}
// The same for the C channels of a tap: unrolled only where they are few, or the code would leave its cache.
template <int C, int Each, int T, int N>
INLINE void accumulate_tap(V (&z)[T][N], const float *w, ptrdiff_t tile_floats, const float *x, ptrdiff_t stride) {
  V in[N];
  if constexpr (C <= 4) {
#pragma GCC unroll 4
    for (int i = 0; i < C; i++) load_row(in, x + i * stride), accumulate<Each>(z, w + i * Each, tile_floats, in);
  } else {
#pragma GCC unroll 1
    for (int i = 0; i < C; i++) load_row(in, x + i * stride), accumulate<Each>(z, w + i * Each, tile_floats, in);
  }
}

struct Tanh {
  static V of(V x, const WaveNetLayer &, int) { return tanh_(x); }
};
struct LeakyRelu {
  static V of(V x, const WaveNetLayer &layer, int channel) { return x <= 0.f ? x * layer.slopes[channel] : x; }
};

// N vectors of frames of a layer with C channels and K taps (any number where K is 0), T outputs at a time, whose weights
// are packed for Each.
template <int C, int K, int Each, int T, int N, class F>
INLINE void layer_tile_(const WaveNetLayer &layer, const float *x, ptrdiff_t x_stride, const float *condition, float *head,
                        bool first, float *next, ptrdiff_t next_stride, ptrdiff_t twin) {
  const int taps = K ? K : layer.taps;
  const ptrdiff_t tile_floats = (ptrdiff_t)Each * (taps * C + 1);
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
    for (int k = 0; k < taps; k++, tap += layer.dilation)
      accumulate_tap<C, Each, T, N>(z, w + k * C * Each, tile_floats, tap, x_stride);
    V in[N];
    load_row(in, condition);
    accumulate<Each>(z, w + taps * C * Each, tile_floats, in);
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
      for (int i = 0; i < C; i++) accumulate<Each>(y, w + i * Each, Each * C, a[i]);
    } else {
#pragma GCC unroll 1
      for (int i = 0; i < C; i++) accumulate<Each>(y, w + i * Each, Each * C, a[i]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
      for (int v = 0; v < N; v++) {
        float *const to = next + (o + t) * next_stride + v * VL;
        store(to, y[t][v]), store(to + twin, y[t][v]);
      }
  }
}

template <int I> struct Number { static constexpr int value = I; };
// N vectors of frames at a time, and what is left over.
template <int N, class Do> INLINE void each_span(int f, int end, Do work) {
  for (; f + (N - 1) * VL < end; f += N * VL) work(Number<N>(), f);
  if (N > 2 && f + VL < end) work(Number<2>(), f), f += 2 * VL;
  for (; f < end; f += VL) work(Number<1>(), f);
}

template <int C, int K, int T, int N, class F> static void layer_rows(const WaveNetLayer &layer, const LayerBlock &b) {
  each_span<N>(0, b.frames, [&](auto n, int f) {
    // A single vector takes two tiles at a time, or its sums would wait for each other.
    constexpr int Together = n.value == 1 && 2 * T <= C ? 2 * T : T;
    layer_tile_<C, K, T, Together, n.value, F>(layer, b.x + f, b.x_stride, b.condition + f, b.head + f, b.first,
                                               b.next ? b.next + f : nullptr, b.next_stride, b.next_twin);
  });
}

// ---- A layer of three taps by Winograd's F(2, 3): two outputs a dilation apart share two of their products, so that the
// first takes three and the second one, where it would be three for each. With p, q, r for x two dilations ago, one ago
// and now, and the taps' weights g:
//   first   z = (p - r)·g0 + m + n,   m = (q + r)·(g0 + g1 + g2)/2,   n = (r - q)·(g0 - g1 + g2)/2;   m - n is kept
//   second  z = what was kept a dilation ago + (r - p)·g2

struct Pair {
  const WaveNetLayer &layer;
  const LayerBlock &block;
  float *a;  // rows kRow apart: z, and then the activations
};

template <int T, int N, class Do> INLINE void each_of_tile(Do work) {
#pragma GCC unroll 16
  for (int t = 0; t < T; t++)
#pragma GCC unroll 4
    for (int v = 0; v < N; v++) work(t, v);
}

// z += w·taken for the C rows of x. The weights lie in packed tiles of LAYER_TILE outputs, `tile_floats` apart.
enum class Take { now, now_and_past, past_less_now, now_less_past };
template <Take take, int C, int T, int N>
INLINE void pass(V (&z)[T][N], const float *w, ptrdiff_t tile_floats, const float *x, ptrdiff_t stride, ptrdiff_t back = 0) {
#pragma GCC unroll 4
  for (int i = 0; i < C; i++, x += stride, w += LAYER_TILE) {
    V in[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; v++) {
      in[v] = load(x - back + v * VL);
      if (take == Take::now_and_past) in[v] = load(x + v * VL) + in[v];
      if (take == Take::past_less_now) in[v] = in[v] - load(x + v * VL);
      if (take == Take::now_less_past) in[v] = load(x + v * VL) - in[v];
      KEEP(in[v]);
    }
    accumulate<LAYER_TILE>(z, w, tile_floats, in);
  }
}

// Bias and mix-in of T channels from o, for N vectors of frames from f.
template <int C, int T, int N> INLINE void begin_tile(V (&z)[T][N], const Pair &pair, int o, int f) {
  constexpr ptrdiff_t width = 4 * C + 1;
  V in[N];
  load_row(in, pair.block.condition + f);
  each_of_tile<T, N>([&](int t, int v) { z[t][v] = all(pair.layer.bias[o + t]); });
  accumulate<LAYER_TILE>(z, pair.layer.conv + o * width + 4 * C * LAYER_TILE, LAYER_TILE * width, in);
}

template <int C, int T, int N> static NOINLINE void first_tile(const Pair &pair, int o, int f, float *kept) {
  constexpr ptrdiff_t width = 4 * C + 1, tile_floats = LAYER_TILE * width;
  const ptrdiff_t stride = pair.block.x_stride, kept_stride = pair.block.kept_stride, dilation = pair.layer.dilation;
  const float *const w = pair.layer.conv + o * width, *const x = pair.block.x + f;
  float *const a = pair.a + o * kRow + f;
  kept += o * kept_stride;
  {
    V z[T][N];
    begin_tile<C>(z, pair, o, f);
    pass<Take::past_less_now, C>(z, w, tile_floats, x, stride, 2 * dilation);
    each_of_tile<T, N>([&](int t, int v) { store(a + t * kRow + v * VL, z[t][v]); });
  }
  {
    V m[T][N];
    each_of_tile<T, N>([&](int t, int v) { m[t][v] = all(0.f); });
    pass<Take::now_and_past, C>(m, w + C * LAYER_TILE, tile_floats, x, stride, dilation);
    each_of_tile<T, N>([&](int t, int v) { store(kept + t * kept_stride + v * VL, m[t][v]); });
  }
  V n[T][N];
  each_of_tile<T, N>([&](int t, int v) { n[t][v] = all(0.f); });
  pass<Take::now_less_past, C>(n, w + 2 * C * LAYER_TILE, tile_floats, x, stride, dilation);
  each_of_tile<T, N>([&](int t, int v) {
    float *const z = a + t * kRow + v * VL, *const keep = kept + t * kept_stride + v * VL;
    const V m = load(keep);
    store(z, load(z) + m + n[t][v]);
    store(keep, m - n[t][v]);
  });
}

template <int C, int T, int N> static NOINLINE void second_tile(const Pair &pair, int o, int f, const float *kept) {
  constexpr ptrdiff_t width = 4 * C + 1;
  const ptrdiff_t kept_stride = pair.block.kept_stride;
  V z[T][N];
  begin_tile<C>(z, pair, o, f);
  each_of_tile<T, N>([&](int t, int v) { z[t][v] += load(kept + (o + t) * kept_stride + v * VL); });
  pass<Take::now_less_past, C>(z, pair.layer.conv + o * width + 3 * C * LAYER_TILE, LAYER_TILE * width, pair.block.x + f,
                               pair.block.x_stride, 2 * pair.layer.dilation);
  each_of_tile<T, N>([&](int t, int v) { store(pair.a + (o + t) * kRow + f + v * VL, z[t][v]); });
}

template <int C, int T, int N> static NOINLINE void out_tile(const Pair &pair, int o, int f) {
  const ptrdiff_t stride = pair.block.x_stride, next_stride = pair.block.next_stride;
  const float *const x = pair.block.x + o * stride + f;
  float *const next = pair.block.next + o * next_stride + f;
  V y[T][N];
  each_of_tile<T, N>([&](int t, int v) { y[t][v] = load(x + t * stride + v * VL) + pair.layer.out_bias[o + t]; });
  pass<Take::now, C>(y, pair.layer.out + o * C, LAYER_TILE * C, pair.a + f, kRow);
  each_of_tile<T, N>([&](int t, int v) {
    float *const to = next + t * next_stride + v * VL;
    store(to, y[t][v]), store(to + pair.block.next_twin, y[t][v]);
  });
}

template <int C, class F> static void paired_layer(const WaveNetLayer &layer, const LayerBlock &block) {
  alignas(64) float a[C * kRow];
  const Pair pair{layer, block, a};
  const int dilation = layer.dilation;
  // All outputs of a span; a single vector takes two tiles at a time, or its sums would wait for each other.
  const auto each_tile = [](auto n, auto work) {
    constexpr int T = n.value == 1 ? 2 * LAYER_TILE : LAYER_TILE;
    for (int o = 0; o < C; o += T) work(Number<T>(), o);
  };
  // Runs of first frames and of second ones take turns. A vector in which one run ends is computed again for the next.
  for (int begin = 0, end, phase = block.phase; begin < block.frames; phase = phase < dilation ? dilation : 0, begin = end) {
    const int into = phase < dilation ? phase : phase - dilation;
    end = block.frames - begin < dilation - into ? block.frames : begin + dilation - into;
    each_span<LAYER_VECTORS>(begin, end, [&](auto n, int f) {
      float *const kept = block.kept + into + f - begin;
      each_tile(n, [&](auto t, int o) {
        if (phase < dilation) first_tile<C, t.value, n.value>(pair, o, f, kept);
        else second_tile<C, t.value, n.value>(pair, o, f, kept);
      });
    });
  }
  each_span<2>(0, block.frames, [&](auto n, int f) {
    for (int c = 0; c < C; c++)
#pragma GCC unroll 2
      for (int v = 0; v < n.value; v++) {
        float *const z = a + c * kRow + f + v * VL, *const head = block.head + c * kRow + f + v * VL;
        const V y = F::of(load(z), layer, c);
        store(z, y);
        store(head, block.first ? y : load(head) + y);
      }
  });
  if (!block.next) return;
  each_span<LAYER_VECTORS>(0, block.frames, [&](auto n, int f) {
    each_tile(n, [&](auto t, int o) { out_tile<C, t.value, n.value>(pair, o, f); });
  });
}

template <int K, class F> static decltype(WaveNetLayer::run) layer_for(int channels, bool paired) {
  switch (channels) {
    case 16: return paired ? paired_layer<16, F> : layer_rows<16, K, LAYER_TILE, LAYER_VECTORS, F>;
    case 8: return layer_rows<8, K, LAYER_TILE, LAYER_VECTORS, F>;
    case 4: return layer_rows<4, K, 4, WIDE * 2, F>;
    case 3: return layer_rows<3, K, 3, WIDE + 2, F>;
    case 2: return layer_rows<2, K, 2, 4, F>;
    default: return nullptr;
  }
}

static decltype(WaveNetLayer::run) wavenet_layer(int channels, int taps, Activation activation, bool paired) {
  switch (activation) {
    case Activation::tanh: return taps == 3 ? layer_for<3, Tanh>(channels, paired) : layer_for<0, Tanh>(channels, false);
    case Activation::leaky_relu:
      if (taps == 6) return layer_for<6, LeakyRelu>(channels, false);
      return layer_for<0, LeakyRelu>(channels, paired);
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

static void copy(const float *from, ptrdiff_t from_stride, float *to, ptrdiff_t to_stride, int channels, int frames) {
  for (int c = 0; c < channels; c++, from += from_stride, to += to_stride)
    for (int i = 0; i < frames; i += VL) store(to + i, load(from + i));
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
const Kernels table = {ISA_NAME, VL, wavenet_layer, LAYER_TILE, affine, activate, copy, multiply, add, fir, multiply_spectra,
                       recurrent<LstmCell>, recurrent<GruCell>, together<LstmCell>, together<GruCell>};

#undef INLINE
#undef NOINLINE
#undef KEEP
