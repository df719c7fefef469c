#include "convolver.h"

#include <fftw3.h>

#include <algorithm>
#include <mutex>

namespace neurig {
namespace {

struct Plans {
  fftwf_plan forward, inverse;
};

// FFTW plans are made once and may then be executed on any thread, with any equally aligned memory.
const Plans &plans(int size, int bins) {
  static std::once_flag once;
  static Plans made;
  std::call_once(once, [&] {
    Floats time(static_cast<size_t>(size)), re(static_cast<size_t>(bins)), im(static_cast<size_t>(bins));
    fftwf_iodim dim{size, 1, 1};
    made.forward = fftwf_plan_guru_split_dft_r2c(1, &dim, 0, nullptr, time.data(), re.data(), im.data(), FFTW_ESTIMATE);
    made.inverse = fftwf_plan_guru_split_dft_c2r(1, &dim, 0, nullptr, re.data(), im.data(), time.data(), FFTW_ESTIMATE);
  });
  return made;
}

}  // namespace

Convolver::Convolver(const std::vector<float> &taps, float bias)
    : head_(kBlock), bias_(bias), partitions_(int((taps.size() + kBlock - 1) / kBlock) - 1) {
  const Plans &fft = plans(kFft, kBins);
  std::copy_n(taps.data(), std::min<size_t>(taps.size(), kBlock), head_.data());
  spectra_ = Floats(size_t(std::max(partitions_, 0)) * 2 * kBins);
  for (int p = 0; p < partitions_; p++) {
    Floats time(kFft);
    const size_t start = size_t(p + 1) * kBlock, count = std::min<size_t>(taps.size() - start, kBlock);
    for (size_t i = 0; i < count; i++) time[i] = taps[start + i] / float(kFft);
    float *re = spectra_.data() + size_t(p) * 2 * kBins;
    fftwf_execute_split_dft_r2c(fft.forward, time.data(), re, re + kBins);
  }
}

void Convolver::process(float *memory, int *heads, const float *in, float *out, int n) const {
  float *const input = memory + kInput, *const tail = memory + kTail;
  int &phase = heads[0];
  float direct[kRow];
  while (n > 0) {
    const int count = std::min(n, kBlock - phase);
    float *here = input + kBlock + phase;
    std::copy_n(in, count, here);
    kernels().fir(direct, here, head_.data(), kBlock, bias_, count);
    for (int i = 0; i < count; i++) out[i] = direct[i] + tail[phase + i];
    in += count, out += count, n -= count, phase += count;
    if (phase == kBlock) boundary(memory, heads);
  }
}

// A block of input is complete: its spectrum joins the others, and the tail of the next block can be computed.
void Convolver::boundary(float *memory, int *heads) const {
  float *const input = memory + kInput;
  heads[0] = 0;
  if (partitions_ > 0) {
    const Plans &fft = plans(kFft, kBins);
    float *const sum = memory + kSum, *const spectra = memory + kSpectra;
    int &newest = heads[1];
    newest = newest ? newest - 1 : partitions_ - 1;
    float *slot = spectra + size_t(newest) * 2 * kBins;
    std::copy_n(input, kFft, memory + kTime);
    fftwf_execute_split_dft_r2c(fft.forward, memory + kTime, slot, slot + kBins);
    std::fill_n(sum, 2 * kBins, 0.f);
    for (int p = 0; p < partitions_; p++) {
      const int at = newest + p < partitions_ ? newest + p : newest + p - partitions_;
      const float *x = spectra + size_t(at) * 2 * kBins, *h = spectra_.data() + size_t(p) * 2 * kBins;
      kernels().multiply_spectra(sum, sum + kBins, x, x + kBins, h, h + kBins, kBins);
    }
    fftwf_execute_split_dft_c2r(fft.inverse, sum, sum + kBins, memory + kTime);
    std::copy_n(memory + kTime + kBlock, kBlock, memory + kTail);
  }
  std::copy_n(input + kBlock, kBlock, input);
}

}  // namespace neurig
