#include "predictor.h"

#include <algorithm>
#include <cmath>

namespace neurig {

void Random::seed(uint64_t seed) {
  has_spare_ = false;
  state_ = 0;
  next();
  state_ += seed;
  next();
}

uint32_t Random::next() {
  const uint64_t old = state_;
  state_ = old * 6364136223846793005ULL + 1442695040888963407ULL;
  const uint32_t shifted = uint32_t(((old >> 18) ^ old) >> 27), turn = uint32_t(old >> 59);
  return (shifted >> turn) | (shifted << ((32 - turn) & 31));
}

// Box & Muller 1958
double Random::normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2 * std::log(uniform())), angle = 2 * 3.14159265358979323846 * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

Predictor::Predictor(std::shared_ptr<const Network> model, uint64_t seed)
    : model_(std::move(model)), state_(model_->zeros()), zeros_(model_->zeros()), mixture_(model_->mixture()),
      last_(size_t(model_->dimension)) {
  random_.seed(seed);
  reset();
}

void Predictor::reset() {
  state_.copy(zeros_);
  // With nothing played yet, the first prediction goes on from the middle.
  std::fill(last_.begin(), last_.end(), 0.5f);
  last_[0] = 0;
  conditioned_ = false;
}

void Predictor::condition(const float *frame) {
  std::copy_n(frame, last_.size(), last_.begin());
  model_->step(state_, frame, mixture_);
  conditioned_ = true;
}

void Predictor::sample(float pi_temp, float sigma_temp, float *frame) {
  const int mixtures = model_->mixtures, dimension = model_->dimension;
  // softmax(logits / pi_temp), then the first component whose cumulative sum reaches u
  const float top = *std::max_element(mixture_.logits.begin(), mixture_.logits.end());
  const double temperature = std::max(double(pi_temp), 1e-6);
  double total = 0;
  for (float logit : mixture_.logits) total += std::exp((double(logit) - top) / temperature);
  const double u = random_.uniform() * total;
  int chosen = 0;
  double sum = 0;
  for (; chosen < mixtures - 1; chosen++) {
    sum += std::exp((double(mixture_.logits[size_t(chosen)]) - top) / temperature);
    if (sum >= u) break;
  }
  const double spread = std::sqrt(std::max(double(sigma_temp), 0.0));
  const size_t first = size_t(chosen) * size_t(dimension);
  for (int d = 0; d < dimension; d++) {
    const double drawn = mixture_.mus[first + d] + mixture_.sigmas[first + d] * spread * random_.normal();
    frame[d] = float(drawn / model_->scale);
  }
}

void Predictor::predict(float pi_temp, float sigma_temp, float *frame) {
  if (!conditioned_) model_->step(state_, last_.data(), mixture_);
  conditioned_ = false;
  sample(pi_temp, sigma_temp, frame);
  frame[0] = std::max(frame[0], 0.001f);
  for (int d = 1; d < model_->dimension; d++) frame[d] = std::min(std::max(frame[d], 0.f), 1.f);
  std::copy_n(frame, last_.size(), last_.begin());
}

}  // namespace neurig
