#include "kernels.h"

#include <cstdlib>
#include <cstring>

#include "intrinsics.h"

namespace neurig {
namespace {
constexpr int kMaxSources = 80;
constexpr int kMaxUnits = 1024;
}  // namespace

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,prefer-vector-width=512")
namespace avx512 {
#define VL 16
#define WIDE 2
#define REGISTERS 32
#define LAYER_TILE 8
#define LAYER_VECTORS 2
#define ISA_NAME "AVX-512"
#include "kernels.inl"
#undef VL
#undef WIDE
#undef REGISTERS
#undef LAYER_TILE
#undef LAYER_VECTORS
#undef ISA_NAME
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define VL 8
#define WIDE 1
#define REGISTERS 16
#define LAYER_TILE 4
#define LAYER_VECTORS 3
#define ISA_NAME "AVX2"
#include "kernels.inl"
#undef VL
#undef WIDE
#undef REGISTERS
#undef LAYER_TILE
#undef LAYER_VECTORS
#undef ISA_NAME
}  // namespace avx2
#pragma GCC pop_options
#endif

// Four lanes: NEON on 64-bit ARM, SSE2 on x86-64, plain C++ elsewhere.
namespace baseline {
#define VL 4
#if defined(__aarch64__)
#define WIDE 2
#define REGISTERS 32
#define LAYER_TILE 8
#define LAYER_VECTORS 2
#define ISA_NAME "NEON"
#else
#define WIDE 1
#define REGISTERS 16
#define LAYER_TILE 4
#define LAYER_VECTORS 2
#define ISA_NAME "baseline"
#endif
#include "kernels.inl"
#undef VL
#undef WIDE
#undef REGISTERS
#undef LAYER_TILE
#undef LAYER_VECTORS
#undef ISA_NAME
}  // namespace baseline

// NEURIG_SIMD=baseline or avx2 in the environment asks for less than the CPU has (tests, measurements).
static const Kernels &choose() {
#if defined(__x86_64__)
  const char *asked = std::getenv("NEURIG_SIMD");
  const auto at_most = [asked](const char *name) { return asked && !std::strcmp(asked, name); };
  if (at_most("baseline")) return baseline::table;
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (has_avx512 && !at_most("avx2")) return avx512::table;
  if (has_avx2) return avx2::table;
#endif
  return baseline::table;
}

const Kernels &kernels() {
  static const Kernels &best = choose();
  return best;
}

}  // namespace neurig
