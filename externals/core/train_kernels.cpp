#include "train_kernels.h"

#include <cstring>
#include <initializer_list>

#include "intrinsics.h"

namespace neurig {

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,prefer-vector-width=512")
namespace train_avx512 {
#define VL 16
#define REGISTERS 32
#define ISA_NAME "AVX-512"
#include "train_kernels.inl"
#undef VL
#undef REGISTERS
#undef ISA_NAME
}  // namespace train_avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace train_avx2 {
#define VL 8
#define REGISTERS 16
#define ISA_NAME "AVX2"
#include "train_kernels.inl"
#undef VL
#undef REGISTERS
#undef ISA_NAME
}  // namespace train_avx2
#pragma GCC pop_options
#endif

// NEON on 64-bit ARM, SSE2 on x86-64, plain C++ elsewhere.
namespace train_baseline {
#define VL 4
#if defined(__aarch64__)
#define REGISTERS 32
#define ISA_NAME "NEON"
#else
#define REGISTERS 16
#define ISA_NAME "baseline"
#endif
#include "train_kernels.inl"
#undef VL
#undef REGISTERS
#undef ISA_NAME
}  // namespace train_baseline

// The same choice as for playing.
const TrainKernels &train_kernels() {
#if defined(__x86_64__)
  for (const TrainKernels *table : {&train_avx512::table, &train_avx2::table})
    if (!std::strcmp(table->name, kernels().name)) return *table;
#endif
  return train_baseline::table;
}

}  // namespace neurig
