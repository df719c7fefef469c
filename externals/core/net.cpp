#include "net.h"

namespace neurig {

Conv::Conv(int inputs_, int outputs_, int kernel_, int dilation_, int groups_, bool bias_, const std::string &where)
    : inputs(inputs_), outputs(outputs_), kernel(kernel_), dilation(dilation_), groups(groups_), has_bias(bias_) {
  if (kernel > kMaxKernel)
    throw Error(where + ": a kernel of " + std::to_string(kernel) + " is longer than " + std::to_string(kMaxKernel));
  if (groups < 1 || inputs % groups || outputs % groups)
    throw Error(where + ": " + std::to_string(inputs) + " and " + std::to_string(outputs) +
                " channels do not divide into " + std::to_string(groups) + " groups");
}

void Conv::read(Weights &weights) {
  dense.assign(size_t(outputs) * inputs * kernel, 0.f);
  const int in_each = inputs / groups, out_each = outputs / groups;
  for (int o = 0; o < outputs; o++)
    for (int i = 0; i < in_each; i++)
      for (int tap = 0; tap < kernel; tap++)
        dense[(size_t(o) * kernel + tap) * inputs + size_t(o / out_each) * in_each + i] = weights.next();
  if (has_bias) {
    bias = Floats(size_t(outputs));
    for (int o = 0; o < outputs; o++) bias[size_t(o)] = weights.next();
  }
}

void Conv::scale(float factor) {
  for (float &weight : dense) weight *= factor;
  if (has_bias)
    for (int o = 0; o < outputs; o++) bias[size_t(o)] *= factor;
}

void Conv::slice(int inputs_, int outputs_) {
  std::vector<float> part(size_t(outputs_) * kernel * inputs_);
  for (int o = 0; o < outputs_; o++)
    for (int tap = 0; tap < kernel; tap++)
      for (int i = 0; i < inputs_; i++)
        part[(size_t(o) * kernel + tap) * inputs_ + i] = dense[(size_t(o) * kernel + tap) * inputs + i];
  if (has_bias) {
    Floats first(static_cast<size_t>(outputs_));
    for (int o = 0; o < outputs_; o++) first[size_t(o)] = bias[size_t(o)];
    bias = std::move(first);
  }
  dense = std::move(part);
  inputs = inputs_, outputs = outputs_;
}

void Conv::absorb(const Conv &mixin) {
  const size_t mine = size_t(kernel) * inputs, width = mine + size_t(mixin.inputs);
  std::vector<float> both(size_t(outputs) * width);
  for (size_t o = 0; o < size_t(outputs); o++) {
    for (size_t i = 0; i < mine; i++) both[o * width + i] = dense[o * mine + i];
    for (size_t i = 0; i < size_t(mixin.inputs); i++)
      both[o * width + mine + i] = mixin.dense[o * size_t(mixin.inputs) + i];
  }
  dense = std::move(both);
  mixed = mixin.inputs;
}

void Conv::pack() {
  const int width = kernel * inputs + mixed;
  const auto weight = [&](int o, int i) { return dense[size_t(o) * width + i]; };
  const auto pair_weight = [&](int o, int i) {
    if (i >= 4 * inputs) return weight(o, i - inputs);
    const int in = i % inputs;
    return pair_taps(weight(o, in), weight(o, inputs + in), weight(o, 2 * inputs + in), i / inputs);
  };
  packed = Floats(size_t(outputs) * (paired ? width + inputs : width));
  if (paired) pack_layer(packed.data(), outputs, width + inputs, pair_weight);
  else if (tiled) pack_layer(packed.data(), outputs, width, weight);
  else pack_affine(packed.data(), outputs, width, weight);
  dense = {};
}

void Conv::apply(const float *x, ptrdiff_t x_stride, Row out, ptrdiff_t out_stride, const float *add,
                 ptrdiff_t add_stride, int n, const float *mixin) const {
  Source sources[kMaxKernel + 1];
  for (int tap = 0; tap < kernel; tap++) sources[tap] = {x - ptrdiff_t(kernel - 1 - tap) * dilation, x_stride, inputs};
  sources[kernel] = {mixin, kRow, mixed};
  kernels().affine(out, out_stride, outputs, packed.data(), bias.data(), add, add_stride, sources,
                   kernel + (mixed > 0), n);
}

void Film::apply(Row x, const float *condition, Row scratch, int n) const {
  map_.apply(condition, kRow, scratch, kRow, nullptr, 0, n);
  kernels().multiply(x, kRow, scratch, kRow, channels_, n);
  if (shift_) kernels().add(x, kRow, scratch + ptrdiff_t(channels_) * kRow, kRow, channels_, n);
}

}  // namespace neurig
