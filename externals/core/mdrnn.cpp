#include "mdrnn.h"

#include <algorithm>
#include <cmath>

namespace neurig {

Mdrnn::Mdrnn(const Json &file) {
  const Json &config = field(file, "config", "the file");
  dimension = int(integer(config, "dimension", "config", 2, 64));
  units_ = int(integer(config, "units", "config", 1, kMaxChannels));
  mixtures = int(integer(config, "mixtures", "config", 1, 64));
  scale = float(number(config, "scale", "config", 1e-3, 1e3));
  const int count = int(integer(config, "layers", "config", 1, 16));
  Weights weights(file);
  int64_t expected = int64_t(units_ + 1) * outputs();
  for (int l = 0; l < count; l++) expected += int64_t(4) * units_ * ((l ? units_ : dimension) + units_ + 1);
  weights.expect(expected);

  for (int l = 0; l < count; l++) {
    RecurrentLayer layer(Cell::lstm, l ? units_ : dimension, units_);
    layer.lay_out(layout_);
    for (int row = 0; row < layer.inputs() + units_; row++)
      for (int o = 0; o < 4 * units_; o++) layer.set_weight(row, o / units_, o % units_, weights.next());
    for (int o = 0; o < 4 * units_; o++) layer.set_bias(o / units_, o % units_, weights.next());
    layers_.push_back(std::move(layer));
  }
  dense_ = Floats(size_t(units_) * stride() + kPad);
  dense_bias_ = Floats(size_t(stride()) + kPad);
  const int md = mixtures * dimension, parts[][2] = {{0, md}, {md, md}, {2 * md, mixtures}};  // first output, how many
  for (const auto &[first, size] : parts) {
    for (int u = 0; u < units_; u++)
      for (int o = 0; o < size; o++) dense_[size_t(u) * stride() + first + o] = weights.next();
    for (int o = 0; o < size; o++) dense_bias_[size_t(first + o)] = weights.next();
  }
  int64_t macs = int64_t(units_) * outputs();  // per frame
  for (const RecurrentLayer &layer : layers_) macs += layer.macs();
  info["macs"] = macs;
  info["dimension"] = dimension;
  info["units"] = units_;
  info["layers"] = count;
  info["mixtures"] = mixtures;
}

Network::Mixture Network::mixture() const {
  const size_t md = size_t(mixtures) * dimension;
  return {std::vector<float>(md), std::vector<float>(md, 1.f), std::vector<float>(size_t(mixtures))};
}

void Mdrnn::step(State &state, const float *frame, Mixture &out) const {
  float rows[2][kMaxChannels], *h = rows[0], *before = rows[1];  // one frame of planar rows is a plain vector
  for (int d = 0; d < dimension; d++) h[d] = frame[d] * scale;
  for (const RecurrentLayer &layer : layers_) {
    std::swap(h, before);
    layer.run(state, before, 1, h, 1, 1);
  }
  // The kernel of planar sums, with the outputs as its frames: y = bias + Σ h[u]·dense[u].
  alignas(64) float y[64 * (2 * 64 + 1) + kPad];
  const Source rows_of_dense{dense_.data(), stride(), units_};
  kernels().affine(y, 0, 1, h, nullptr, dense_bias_.data(), 0, &rows_of_dense, 1, outputs());
  const size_t md = out.mus.size();
  std::copy_n(y, md, out.mus.begin());
  for (size_t i = 0; i < md; i++) {  // elu(x) + 1 + 1e-7
    const float x = y[md + i];
    out.sigmas[i] = (x > 0 ? x : std::expm1(x)) + 1.f + 1e-7f;
  }
  std::copy_n(y + 2 * md, size_t(mixtures), out.logits.begin());
}

std::shared_ptr<Model> read_mdrnn(const Json &file) { return std::make_shared<Mdrnn>(file); }

}  // namespace neurig
