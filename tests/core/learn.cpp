// A forward and a backward pass of a network:   learn DESCRIPTION SIGNALS SAMPLES THREADS IN OUT
// IN, raw floats: the weights, the input, and a gradient for each output. OUT: the output, and the gradient of the
// weights. It stands alone, so that it also serves where there is no Python: on another computer, or under an emulator.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "neurig.h"

static int fail(const char *name, const char *reason) { return std::fprintf(stderr, "%s: %s\n", name, reason), 1; }

int main(int count, char **words) {
  if (count != 7) return fail(words[0], "DESCRIPTION SIGNALS SAMPLES THREADS IN OUT");
  const int signals = std::atoi(words[2]), samples = std::atoi(words[3]), threads = std::atoi(words[4]);
  std::string description;
  std::vector<float> given;
  for (const int n : {1, 5}) {
    std::FILE *file = std::fopen(words[n], "rb");
    if (!file) return fail(words[n], "cannot be opened");
    char part[4096];
    std::string bytes;
    while (const size_t got = std::fread(part, 1, sizeof part, file)) bytes.append(part, got);
    std::fclose(file);
    if (n == 1) description = bytes;
    else given.assign(reinterpret_cast<const float *>(bytes.data()),
                      reinterpret_cast<const float *>(bytes.data() + bytes.size()));
  }

  char error[512];
  neurig_learner *learner = neurig_learner_new(description.c_str(), error, sizeof error);
  if (!learner) return fail(words[1], error);
  neurig_pass *pass = neurig_pass_new(learner, error, sizeof error);
  if (!pass) return fail(words[1], error);
  const size_t weights = size_t(neurig_learner_weights(learner));
  const size_t in = size_t(signals) * size_t(neurig_learner_inputs(learner)) * size_t(samples);
  const size_t outs = size_t(signals) * size_t(samples - neurig_learner_receptive_field(learner) + 1);
  if (given.size() != weights + in + outs) return fail(words[5], "has another number of floats");
  std::vector<float> result(outs + weights);
  const float *const x = given.data() + weights, *const gradient = x + in;
  float *const out = result.data();
  if (neurig_pass_forward(pass, given.data(), x, signals, samples, nullptr, out, threads, error, sizeof error) < 0 ||
      neurig_pass_backward(pass, gradient, out + outs, threads, error, sizeof error) < 0)
    return fail(words[1], error);
  neurig_pass_free(pass);
  neurig_learner_free(learner);

  std::FILE *file = std::fopen(words[6], "wb");
  if (!file) return fail(words[6], "cannot be written");
  const bool written = std::fwrite(result.data(), sizeof(float), result.size(), file) == result.size();
  return std::fclose(file) == 0 && written ? 0 : fail(words[6], "cannot be written");
}
