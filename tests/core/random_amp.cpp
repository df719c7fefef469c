// The amp stage driven by chance: swaps, collects, settings, resets and blocks in any order. What is handed over must
// come back once, whatever happens. Arguments: seconds of CPU, seed, model files.
#include <time.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "checks.h"
#include "neurig.h"

static void run(std::minstd_rand &random, const std::vector<neurig_model *> &models) {
  static const double rates[] = {48000, 44100, 8000};
  const double rate = rates[random() % 3];
  neurig_amp *amp = neurig_amp_new(rate);
  std::set<neurig_instance *> lent;  // what the amp holds
  const auto back = [&](neurig_instance *instance) {
    if (!instance) return;
    must(lent.erase(instance) == 1, "an instance comes back that the amp did not hold");
    must(neurig_amp_instance(amp) != instance, "the instance that sounds is given away");
    neurig_instance_free(instance);
  };
  std::vector<float> x(1000);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  const float odd[] = {0, 1, -60, 60, -100, 1e9f, 20, kNan, kInfinity};
  neurig_instance *newest = nullptr;
  for (int steps = 1 + int(random() % 200); steps > 0; steps--) {
    switch (random() % 8) {
      case 0:
        newest = nullptr;
        if (random() % 4)
          newest = neurig_instance_new(models[random() % models.size()], rate, int(random() % 3), nullptr, 0);
        if (newest) lent.insert(newest);
        back(neurig_amp_swap(amp, newest));
        must(neurig_amp_instance(amp) == newest, "what was put in is not the amp's instance");
        break;
      case 1: back(neurig_amp_collect(amp)); break;
      case 2: neurig_amp_set(amp, int(random() % (NEURIG_AMP_DBU + 3)) - 1, odd[random() % 9]); break;
      case 3: neurig_amp_reset(amp); break;
      case 4:
        if (neurig_instance *instance = neurig_amp_instance(amp)) {
          neurig_instance_set_slim(instance, odd[random() % 9]);
          neurig_instance_set_param(instance, int(random() % 3), odd[random() % 9]);
        }
        break;
      default: {
        const int n = int(random() % (random() % 10 ? 100 : x.size() + 1));
        for (int i = 0; i < n; i++) x[size_t(i)] = float(random() % 2001) / 1000 - 1;
        neurig_amp_process(amp, x.data(), x.data(), n);
        for (int i = 0; i < n; i++) must(std::isfinite(x[size_t(i)]), "the output is not finite");
      }
    }
    for (int p = 0; p <= NEURIG_AMP_DBU; p++) must(std::isfinite(neurig_amp_get(amp, p)), "a setting is not finite");
    const int level = neurig_amp_level(amp);
    must(level >= NEURIG_LEVEL_RAW && level <= NEURIG_LEVEL_CALIBRATED, "the level is out of range");
    must(lent.size() <= 4, "the amp holds more instances than it has places");
  }
  must(neurig_amp_instance(amp) == newest, "the amp has lost its instance");
  neurig_amp_free(amp);  // and with it all that it still holds: what it forgot is found as a leak
}

int main(int count, char **arguments) {
  if (count < 4) return std::fprintf(stderr, "usage: random_amp SECONDS SEED MODEL...\n"), 2;
  std::vector<neurig_model *> models;
  for (int i = 3; i < count; i++) {
    char error[200];
    models.push_back(neurig_model_load(arguments[i], error, sizeof error));
    if (!models.back()) return std::fprintf(stderr, "%s: %s\n", arguments[i], error), 2;
  }
  std::minstd_rand random(unsigned(std::atoi(arguments[2])) + 1);
  const double end = cpu_seconds() + std::atof(arguments[1]);
  long runs = 0;
  for (; cpu_seconds() < end; runs++) run(random, models);
  for (neurig_model *model : models) neurig_model_release(model);
  std::printf("%ld runs\n", runs);
}
