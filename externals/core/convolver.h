// Convolution with a long impulse response, without added latency at any block size: the first kBlock taps directly,
// the rest in uniform partitions of kBlock by overlap-save in the frequency domain (Gardner 1995; Wefers 2015).
#pragma once
#include <algorithm>

#include "model.h"

namespace neurig {

class Convolver {
 public:
  static constexpr int kHeads = 2;
  Convolver(const std::vector<float> &taps, float bias);
  int64_t size() const { return kSpectra + int64_t(std::max(partitions_, 0)) * 2 * kBins; }
  // [real time] n ≤ kBlock; in and out may be the same memory. A stream has size() floats and kHeads positions, all 0 at
  // first.
  void process(float *memory, int *heads, const float *in, float *out, int n) const;

 private:
  static constexpr int kFft = 2 * kBlock, kBins = (kBlock + 1 + kPad - 1) / kPad * kPad;
  // Places in the state: two blocks of input, the tail that the partitions have ready for this block, a sum, the spectra.
  static constexpr int kInput = 0, kTail = kInput + kFft + kPad, kTime = kTail + kBlock + kPad, kSum = kTime + kFft, kSpectra = kSum + 2 * kBins;
  void boundary(float *memory, int *heads) const;

  Floats head_;  // first taps
  float bias_;
  int partitions_;
  Floats spectra_;  // [partition][re | im][kBins], with the inverse transform's 1/kFft
};

// `samples` taken at `from` Hz, resampled to `to` Hz by a windowed sinc.
std::vector<float> resampled(const float *samples, int64_t frames, double from, double to);

}  // namespace neurig
