// A session with an MDRNN: its LSTM state, its random generator, and the frame it would go on from.
#pragma once
#include "mdrnn.h"

namespace neurig {

// PCG32 (O'Neill 2014): small, and the same on every machine.
class Random {
 public:
  void seed(uint64_t seed);
  uint32_t next();
  double uniform() { return (next() + 0.5) * (1.0 / 4294967296.0); }  // in (0, 1)
  double normal();

 private:
  uint64_t state_ = 0;
  double spare_ = 0;
  bool has_spare_ = false;
};

class Predictor {
 public:
  Predictor(std::shared_ptr<const Network> model, uint64_t seed);
  const Network &model() const { return *model_; }
  // All [real time]; see neurig.h.
  void condition(const float *frame);
  void predict(float pi_temp, float sigma_temp, float *frame);
  void sample(float pi_temp, float sigma_temp, float *frame);
  void reset();
  void seed(uint64_t seed) { random_.seed(seed); }
  const Network::Mixture &mixture() const { return mixture_; }

 private:
  std::shared_ptr<const Network> model_;
  State state_, zeros_;
  Network::Mixture mixture_;
  std::vector<float> last_;
  bool conditioned_ = false;  // the mixture is for the next frame: no step is needed before drawing
  Random random_;
};

}  // namespace neurig
