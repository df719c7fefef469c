// The MDRNN: LSTM layers under a mixture density output (Bishop 1994; Martin & Torresen 2019, IMPSY's network).
#pragma once
#include "recurrent.h"

namespace neurig {

// A model that predicts frames, whoever computes it.
class Network : public Model {
 public:
  int dimension = 0, mixtures = 0;
  float scale = 10;  // frames are multiplied by it on their way in, samples divided on their way out

  // What a step gives, in the network's scale: mus and sigmas [mixtures][dimension], logits [mixtures].
  struct Mixture {
    std::vector<float> mus, sigmas, logits;
  };
  Mixture mixture() const;
  virtual State zeros() const = 0;
  // [real time]
  virtual void step(State &state, const float *frame, Mixture &out) const = 0;
};

class Mdrnn : public Network {
 public:
  explicit Mdrnn(const Json &file);
  State zeros() const override { return layout_.zeros(); }
  void step(State &state, const float *frame, Mixture &out) const override;

 private:
  int units_ = 0;
  std::vector<RecurrentLayer> layers_;
  Layout layout_;
  Floats dense_, dense_bias_;  // [units][stride], outputs in a row: mus | sigmas | logits
  int outputs() const { return mixtures * (2 * dimension + 1); }
  int stride() const { return (outputs() + kPad - 1) / kPad * kPad; }
};

}  // namespace neurig
