// Vectors of VL floats and what every kernel needs of them. Included once per instruction set, inside a namespace of
// its own. Uses nothing from the standard library: an inline function compiled here for AVX-512 must never be the one
// the linker keeps for everybody.

typedef float V __attribute__((vector_size(VL * 4)));
typedef float VU __attribute__((vector_size(VL * 4), aligned(4)));
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

INLINE V load(const float *p) { return *(const VU *)p; }
INLINE void store(float *p, V v) { *(VU *)p = v; }
INLINE V all(float x) { return x - (V){}; }

#if VL == 16
INLINE V clip(V x, V low, V high) { return (V)_mm512_min_ps(_mm512_max_ps((__m512)x, (__m512)low), (__m512)high); }
// the lesser magnitude, x's sign
INLINE V limit(V x, float most) { return (V)_mm512_range_ps((__m512)x, (__m512)all(most), 2); }
#elif VL == 8
INLINE V clip(V x, V low, V high) { return (V)_mm256_min_ps(_mm256_max_ps((__m256)x, (__m256)low), (__m256)high); }
INLINE V limit(V x, float most) { return clip(x, all(-most), all(most)); }
#elif defined(__aarch64__)
INLINE V clip(V x, V low, V high) {
  return (V)vminnmq_f32(vmaxnmq_f32((float32x4_t)x, (float32x4_t)low), (float32x4_t)high);
}
INLINE V limit(V x, float most) { return clip(x, all(-most), all(most)); }
#else
INLINE V clip(V x, V low, V high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}
INLINE V limit(V x, float most) { return clip(x, all(-most), all(most)); }
#endif

// tanh as an odd polynomial over an even one, of the least greatest error up to 7.5: 4e-7 in float.
constexpr float kTanhEnd = 7.5f;
INLINE V tanh_within(V x) {
  const V x2 = x * x;
  V p = all(-6.643114502935532e-09f);
  p = p * x2 + 7.422848739224719e-06f;
  p = p * x2 + 2.729268278926611e-03f;
  p = p * x2 + 1.2743744254112244e-01f;
  p = p * x2 + 9.99999463558197e-01f;
  V q = all(2.0106934243813157e-04f);
  q = q * x2 + 2.2987795993685722e-02f;
  q = q * x2 + 4.607686996459961e-01f;
  q = q * x2 + 1.f;
  return x * p / q;
}
INLINE V tanh_(V x) { return tanh_within(limit(x, kTanhEnd)); }
INLINE V sigmoid_(V x) { return tanh_(x * 0.5f) * 0.5f + 0.5f; }
// z += w·in, for T outputs. Vectors of four take four weights at a time, wider ones are quicker with one.
template <int L> INLINE V lane(V v) {
  typedef int Lanes __attribute__((vector_size(VL * 4)));
  return __builtin_shuffle(v, Lanes{L, L, L, L});
}
template <int N> INLINE void accumulate_row(V (&z)[N], V weight, const V (&in)[N]) {
#pragma GCC unroll 8
  for (int v = 0; v < N; v++) z[v] += weight * in[v];
}
template <int T, int N> INLINE void accumulate(V (*z)[N], const float *w, const V (&in)[N]) {
  if constexpr (VL == 4 && T % 4 == 0) {
#pragma GCC unroll 4
    for (int t = 0; t < T; t += 4) {
      const V weights = load(w + t);
      accumulate_row(z[t], lane<0>(weights), in);
      accumulate_row(z[t + 1], lane<1>(weights), in);
      accumulate_row(z[t + 2], lane<2>(weights), in);
      accumulate_row(z[t + 3], lane<3>(weights), in);
    }
  }
#if VL == 16
  else if constexpr (N == 1 && T % 4 == 0) {  // with a load for each product, loads would be what it waits for
#pragma GCC unroll 4
    for (int t = 0; t < T; t += 4) {
      __m512 weights = _mm512_broadcast_f32x4(_mm_loadu_ps(w + t));
      asm("" : "+v"(weights));
      z[t][0] += (V)_mm512_permute_ps(weights, 0x00) * in[0];
      z[t + 1][0] += all(w[t + 1]) * in[0];
      z[t + 2][0] += (V)_mm512_permute_ps(weights, 0xaa) * in[0];
      z[t + 3][0] += all(w[t + 3]) * in[0];
    }
  }
#endif
  else {
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) accumulate_row(z[t], all(w[t]), in);
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
