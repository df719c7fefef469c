// Several threads at once read the same files, share models, make instances at several rates and play them. Built with
// ThreadSanitizer, which reports what they do to each other. Arguments: model files.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <thread>
#include <vector>

#include "neurig.h"

static std::atomic<bool> good{true};

static void must(bool holds, const char *what) {
  if (holds) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  good = false;
}

static void play(neurig_model *model) {
  if (neurig_model_is_predictor(model)) {
    neurig_predictor *predictor = neurig_predictor_new(model, 1, nullptr, 0);
    std::vector<float> frame(size_t(neurig_predictor_dimension(predictor)), 0.5f);
    neurig_predictor_condition(predictor, frame.data());
    for (int i = 0; i < 5; i++) neurig_predictor_predict(predictor, 1, 0.1f, frame.data());
    neurig_predictor_free(predictor);
    return;
  }
  for (const double rate : {48000.0, 44100.0}) {
    neurig_instance *instance = neurig_instance_new(model, rate, 0, nullptr, 0);
    must(instance, "an instance is refused");
    std::vector<float> x(300, 0.25f);
    for (const float size : {1.f, 0.f}) {
      neurig_instance_set_slim(instance, size);
      neurig_instance_process(instance, x.data(), x.data(), int(x.size()));
    }
    neurig_instance_reset(instance);
    neurig_instance_free(instance);
    neurig_instance *deferred = neurig_instance_new_deferred(model, rate, 0, 1, 64, nullptr, 0);
    must(deferred, "a deferred instance is refused");
    for (int i = 0; i < 20; i++) {
      neurig_instance_process(deferred, x.data(), x.data(), int(x.size()));
      if (i % 7 == 3) neurig_instance_reset(deferred);
    }
    neurig_instance_free(deferred);
  }
}

int main(int count, char **files) {
  std::vector<neurig_model *> shared;
  std::vector<std::thread> threads;
  const auto all = [&](auto work) {
    for (int t = 0; t < 4; t++) threads.emplace_back(work);
    for (std::thread &thread : threads) thread.join();
    threads.clear();
  };
  // First of all, so that what the core makes once is made by several at a time.
  all([&] {
    const std::vector<float> taps(3000, 0.001f);
    neurig_model *cabinet = neurig_model_from_ir(taps.data(), int64_t(taps.size()), 48000, nullptr, 0);
    play(cabinet);
    neurig_model_release(cabinet);
    for (int i = 1; i < count; i++) {
      neurig_model *model = neurig_model_load(files[i], nullptr, 0);
      must(model, files[i]);
      if (!model) continue;
      play(model);
      neurig_model_release(model);
    }
  });
  for (int i = 1; i < count; i++) shared.push_back(neurig_model_load(files[i], nullptr, 0));
  all([&] {
    for (neurig_model *model : shared) neurig_model_retain(model), play(model), neurig_model_release(model);
  });
  for (neurig_model *model : shared) neurig_model_release(model);
  std::printf("%s\n", good ? "done" : "failed");
  return good ? 0 : 1;
}
