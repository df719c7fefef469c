// The past of a convolution's input: planar rows in a ring. What is written is written twice, a ring's length apart, so
// that the past lies in one piece before the present, wherever that is.
#pragma once
#include "model.h"

namespace neurig {

struct History {
  int channels = 0, look = 0;  // look: how many frames before the present one are read
  int length = 0, stride = kRow;
  int64_t place = 0;
  size_t head = 0;

  History() = default;
  History(int channels_, int64_t look_, Layout &layout) : channels(channels_) {
    if (look_ == 0) {  // no past: always the same rows, which stay in the cache
      place = layout.take(int64_t(channels) * kRow);
      return;
    }
    const int64_t size = (look_ + kBlock + kPad - 1) / kPad * kPad;
    if (2 * size > kMaxStateFloats)
      throw Error("a convolution over " + std::to_string(look_) + " samples needs too much memory");
    look = int(look_), length = int(size);
    // Rows a multiple of 4 KiB apart would compete for the same cache lines.
    stride = 2 * length + kRow;
    while (stride / 16 % 4 != 1) stride += 16;
    place = layout.take(int64_t(channels) * stride);
    head = layout.heads.size();
    layout.heads.push_back(0);
  }

  // [real time] The first row's place for the next block.
  float *next(State &state) const {
    float *const rows = state.data.data() + place;
    return look ? rows + length + state.heads[head] : rows;
  }
  // From each frame to where it is written again.
  ptrdiff_t twin() const { return look ? -ptrdiff_t(length) : 0; }
  // [real time] `n` frames have been written there, once or twice, and read.
  void advance(State &state, int n, bool twice = false) const {
    if (!look) return;
    float *const here = next(state);
    if (!twice) kernels().copy(here, stride, here + twin(), stride, channels, n);
    int &at = state.heads[head];
    at = at + n < length ? at + n : at + n - length;
  }
};

}  // namespace neurig
