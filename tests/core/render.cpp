// Runs raw floats, mono, little-endian, through a model:   render MODEL IN OUT [RATE [BLOCK [SLIM]]]
// It stands alone, so that it also serves where there is no Python: on another computer, or under an emulator.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "neurig.h"

static int fail(const char *name, const char *reason) { return std::fprintf(stderr, "%s: %s\n", name, reason), 1; }

int main(int count, char **words) {
  if (count < 4) return fail(words[0], "MODEL IN OUT [RATE [BLOCK [SLIM]]]");
  const double rate = count > 4 ? std::atof(words[4]) : 48000;
  const int block = count > 5 ? std::atoi(words[5]) : 64;
  if (block < 1) return fail(words[5], "a block has at least one sample");

  std::FILE *file = std::fopen(words[2], "rb");
  if (!file) return fail(words[2], "cannot be opened");
  std::vector<float> samples;
  float part[4096];
  while (const size_t got = std::fread(part, sizeof(float), 4096, file))
    samples.insert(samples.end(), part, part + got);
  std::fclose(file);

  char error[512];
  neurig_model *model = neurig_model_load(words[1], error, sizeof error);
  if (!model) return fail(words[1], error);
  neurig_instance *instance = neurig_instance_new(model, rate, 1, error, sizeof error);
  if (!instance) return fail(words[1], error);
  if (count > 6) neurig_instance_set_slim(instance, float(std::atof(words[6])));
  for (size_t at = 0; at < samples.size(); at += size_t(block)) {
    const size_t left = samples.size() - at;
    neurig_instance_process(instance, &samples[at], &samples[at], left < size_t(block) ? int(left) : block);
  }
  neurig_instance_free(instance);
  neurig_model_release(model);

  file = std::fopen(words[3], "wb");
  if (!file) return fail(words[3], "cannot be written");
  const bool written = std::fwrite(samples.data(), sizeof(float), samples.size(), file) == samples.size();
  if (std::fclose(file) != 0 || !written) return fail(words[3], "could not be written whole");
}
