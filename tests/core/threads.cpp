// Several threads at once read the same files, share models, make instances at several rates and play them; and hosts
// replace what their audio threads play. Built with sanitizers, of which one reports what threads do to each other.
// Arguments: model files.
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

// An amp as hosts have it: its audio thread plays all the time, takes what another thread has loaded, turns knobs, and
// gives back what it does not need any more.
class Host {
 public:
  explicit Host(unsigned seed) : amp_(neurig_amp_new(48000)), seed_(seed) {
    neurig_amp_set(amp_, NEURIG_AMP_XFADE, 2);
    audio_ = std::thread([this] { play(); });
  }
  ~Host() {
    ends_ = true;
    audio_.join();
    neurig_amp_free(amp_);
    for (std::atomic<neurig_instance *> *left : {&fresh_, &gone_}) neurig_instance_free(left->exchange(nullptr));
  }
  // Waits until the audio thread has taken it.
  void replace(neurig_instance *instance) {
    for (neurig_instance *none = nullptr; !fresh_.compare_exchange_strong(none, instance); none = nullptr) {
      neurig_instance_free(gone_.exchange(nullptr));
      std::this_thread::yield();
    }
  }

 private:
  void play() {
    std::vector<float> x(200);
    neurig_instance *old = nullptr;  // that nobody has fetched yet
    for (unsigned turn = seed_; !ends_; turn++) {
      if (!old) old = neurig_amp_collect(amp_);
      if (!old)
        if (neurig_instance *fresh = fresh_.exchange(nullptr)) old = neurig_amp_swap(amp_, fresh);
      neurig_instance *none = nullptr;
      if (old && gone_.compare_exchange_strong(none, old)) old = nullptr;
      neurig_amp_set(amp_, int(turn % 8), float(turn % 3));
      if (neurig_instance *instance = neurig_amp_instance(amp_)) {
        neurig_instance_set_param(instance, 0, float(turn % 5) / 4);
        neurig_instance_set_slim(instance, float(turn % 7) / 6);
        if (turn % 50 == 0) neurig_instance_reset(instance);
      }
      for (float &sample : x) sample = 0.3f;
      neurig_amp_process(amp_, x.data(), x.data(), 1 + int(turn * 37 % 200));
      for (const float sample : x) must(std::isfinite(sample), "a sample is no number");
    }
    neurig_instance_free(old);
  }
  neurig_amp *amp_;
  unsigned seed_;
  std::atomic<neurig_instance *> fresh_{nullptr}, gone_{nullptr};
  std::atomic<bool> ends_{false};
  std::thread audio_;
};

// Each model comes into several hosts, computed there or on a thread of its own; nobody keeps it but its instances.
static void replace(int count, char **files) {
  Host hosts[] = {Host(1), Host(2), Host(3)};
  for (int round = 0; round < 3; round++)
    for (int i = 1; i < count; i++) {
      neurig_model *model = neurig_model_load(files[i], nullptr, 0);
      for (Host &host : hosts) {
        if (!neurig_model_is_amp(model)) continue;
        const bool deferred = (&host - hosts + i + round) % 3 == 0;
        host.replace(deferred ? neurig_instance_new_deferred(model, 48000, 0, 1, 64, nullptr, 0)
                              : neurig_instance_new(model, 48000, 0, nullptr, 0));
      }
      neurig_model_release(model);
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
  replace(count, files);
  std::printf("%s\n", good ? "done" : "failed");
  return good ? 0 : 1;
}
