// The past of a convolution's input: planar rows that grow towards their end, and are then wound back.
#pragma once
#include "model.h"

namespace neurig {

struct History {
  int channels = 0, look = 0;  // look: how many frames before the present one are read
  int capacity = 0, stride = kRow;
  int64_t place = 0;
  size_t head = 0;

  History() = default;
  History(int channels_, int64_t look_, Layout &layout) : channels(channels_) {
    if (look_ == 0) {  // no past: always the same rows, which stay in the cache
      place = layout.take(int64_t(channels) * kRow);
      return;
    }
    const int64_t size = 3 * look_ + 16 * kBlock;
    if (size > kMaxStateFloats)
      throw Error("a convolution over " + std::to_string(look_) + " samples needs too much memory");
    look = int(look_), capacity = int(size);
    // Rows a multiple of 4 KiB apart would compete for the same cache lines.
    stride = (capacity + kPad + 15) / 16 * 16;
    while (stride / 16 % 4 != 1) stride += 16;
    place = layout.take(int64_t(channels) * stride);
    // Winding back copies memory: spread over time, no block has to do several.
    head = layout.heads.size();
    layout.heads.push_back(look + int(head) % ((capacity - look) / kBlock) * kBlock);
  }

  // [real time] The first row's place for the next block, after making room for it.
  float *next(State &state) const {
    float *const rows = state.data.data() + place;
    if (!look) return rows;
    int &at = state.heads[head];
    if (at + kBlock > capacity) {
      for (int c = 0; c < channels; c++) {
        float *row = rows + ptrdiff_t(c) * stride;
        std::memmove(row, row + at - look, size_t(look) * sizeof(float));
      }
      at = look;
    }
    return rows + at;
  }
  // [real time] `n` frames have been written there, and read.
  void advance(State &state, int n) const {
    if (look) state.heads[head] += n;
  }
};

}  // namespace neurig
