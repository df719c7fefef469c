// The MDRNN: LSTM layers under a mixture density output (Bishop 1994; Martin & Torresen 2019, IMPSY's network).
#pragma once
#include "recurrent.h"

namespace neurig {

class Mdrnn : public Model {
 public:
  explicit Mdrnn(const Json &file);

  int dimension = 0, units = 0, mixtures = 0;
  float scale = 10;  // frames are multiplied by it on their way in, samples divided on their way out

  // What a step gives, in the network's scale: mus and sigmas [mixtures][dimension], logits [mixtures].
  struct Mixture {
    std::vector<float> mus, sigmas, logits;
  };
  State zeros() const { return layout_.zeros(); }
  Mixture mixture() const;
  // [real time]
  void step(State &state, const float *frame, Mixture &out) const;

 private:
  std::vector<RecurrentLayer> layers_;
  Layout layout_;
  std::vector<float> dense_, dense_bias_;  // [units][outputs], outputs: mus | sigmas | logits
  int outputs() const { return mixtures * (2 * dimension + 1); }
};

}  // namespace neurig
