// Activations as model files name them.
#pragma once
#include "model.h"

namespace neurig {

struct ActivationSpec {
  Activation kind = Activation::none;
  std::vector<float> params;  // as kernels().activate wants them
  // [real time]
  void apply(float *x, ptrdiff_t stride, int channels, int frames) const {
    kernels().activate(kind, params.data(), x, stride, channels, frames);
  }
};

// A name, or an object {"type": name, parameters …}, as NAM files have it, for `channels` channels.
ActivationSpec read_activation(const Json &value, int channels, const std::string &where);

}  // namespace neurig
