// Counts what a real-time thread must not do - allocate, free, lock, open - while the core's [real time] functions run.
// Arguments: model files. Prints one line per case and exits 1 where anything was counted.
#include <dlfcn.h>
#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "neurig.h"

static bool armed = false;
static long counted = 0;
static void note() {
  if (armed) counted++;
}

// The C library's own functions, with ours in front.
extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);
void *malloc(size_t n) { return note(), __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return note(), __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return note(), __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { return note(), __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return note(), __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { return note(), *p = __libc_memalign(a, n), 0; }
void free(void *p) { note(), __libc_free(p); }
int pthread_mutex_lock(pthread_mutex_t *mutex) {
  note();
  static const auto real = reinterpret_cast<int (*)(pthread_mutex_t *)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  return real(mutex);
}
}

template <class Run> static bool clean(const std::string &what, Run run) {
  counted = 0;
  armed = true;
  run();
  armed = false;
  std::printf("%s: %ld\n", what.c_str(), counted);
  return counted == 0;
}

static bool amp(neurig_model *model, const std::string &name) {
  bool good = true;
  char error[256];
  for (const double rate : {48000.0, 44100.0, 96000.0})
    for (const int block : {1, 7, 64, 333, 4096}) {
      std::vector<float> x(size_t(block), 0.25f);
      neurig_instance *a = neurig_instance_new(model, rate, 1, error, sizeof error);
      neurig_instance *b = neurig_instance_new(model, rate, 1, error, sizeof error);
      neurig_instance *c = neurig_instance_new(model, rate, 1, error, sizeof error), *gone[3] = {};
      constexpr int kChannels = 3;
      neurig_instance *many = neurig_instance_new_channels(model, rate, 1, kChannels, 0, error, sizeof error);
      neurig_instance *exact = neurig_instance_new_channels(model, rate, 1, 1, 1, error, sizeof error);
      std::vector<float> rows(size_t(kChannels * block), 0.25f);
      if (!a || !b || !c || !many || !exact) return std::printf("%s: %s\n", name.c_str(), error), false;
      neurig_amp *path = neurig_amp_new(rate);
      const int blocks = 1 + 6000 / block;
      good &= clean(name + " at " + std::to_string(int(rate)) + " in " + std::to_string(block), [&] {
        for (int i = 0; i < blocks; i++) neurig_instance_process(a, x.data(), x.data(), block);
        neurig_instance_set_param(a, 0, 0.3f);
        neurig_instance_reset(a);
        for (int i = 0; i < 3; i++) neurig_instance_process(many, rows.data(), rows.data(), block);
        neurig_instance_reset(many);
        neurig_instance_process(exact, x.data(), x.data(), block < 400 ? block : 400);
        neurig_instance_reset(exact);
        gone[0] = neurig_amp_swap(path, b);
        for (int i = 0; i < blocks; i++) neurig_amp_process(path, x.data(), x.data(), block);
        for (int p = 0; p <= NEURIG_AMP_DBU; p++) neurig_amp_set(path, p, 1);
        gone[1] = neurig_amp_swap(path, c);
        for (int i = 0; i < blocks; i++) neurig_amp_process(path, x.data(), x.data(), block);
        gone[2] = neurig_amp_collect(path);
        neurig_amp_reset(path);
        neurig_model_retain(model);
        neurig_model_release(model);
      });
      if (gone[2] != b) good = false, std::printf("the replaced instance was not given back\n");
      for (neurig_instance *instance : gone) neurig_instance_free(instance);
      for (neurig_instance *instance : {a, many, exact}) neurig_instance_free(instance);
      neurig_amp_free(path);
    }
  return good;
}

static bool predictor(neurig_model *model, const std::string &name) {
  char error[256];
  neurig_predictor *session = neurig_predictor_new(model, 1, error, sizeof error);
  std::vector<float> frame(64, 0.5f), mixture(64 * 129);
  const bool good = clean(name, [&] {
    for (int i = 0; i < 100; i++) {
      neurig_predictor_condition(session, frame.data());
      neurig_predictor_predict(session, 1, 0.1f, frame.data());
      neurig_predictor_predict(session, 1, 0.1f, frame.data());
      neurig_predictor_sample(session, 1, 0.1f, frame.data());
    }
    neurig_predictor_mixture(session, mixture.data(), mixture.data() + 64 * 64, mixture.data() + 2 * 64 * 64);
    neurig_predictor_seed(session, 3);
    neurig_predictor_reset(session);
  });
  neurig_predictor_free(session);
  return good;
}

// A session in every mode, with what goes wrong; two networks take turns.
static bool session(neurig_model *model, const std::string &name) {
  char error[256];
  bool good = true;
  for (int mode = 0; mode < NEURIG_MODES; mode++) {
    neurig_predictor *a = neurig_predictor_new(model, 1, error, sizeof error);
    neurig_predictor *b = neurig_predictor_new(model, 2, error, sizeof error);
    neurig_session *played = neurig_session_new(64, 0, error, sizeof error);
    const int count = neurig_predictor_dimension(a) - 1;
    std::vector<double> values(size_t(count), 0.5), frame(64);
    const neurig_network first = neurig_predictor_network(a), second = neurig_predictor_network(b);
    int events = 0;
    good &= clean(name + ": a session in " + neurig_mode_name(mode), [&] {
      double now = 0, time;
      neurig_session_replace(played, &first, now);
      neurig_session_set_mode(played, mode, now);
      neurig_session_seed(played, 3);
      for (int setting = 0; setting < NEURIG_SESSION_SETTINGS; setting++) neurig_session_set(played, setting, 0.02);
      for (int i = 0; i < 1000; i++, now += 0.001) {
        if (i % 100 < 50) neurig_session_input(played, values.data(), count, now, frame.data(), error, sizeof error);
        values[0] = 1e300;
        neurig_session_input(played, values.data(), count + i % 2, now, nullptr, error, sizeof error);
        values[0] = 0.25;
        if (neurig_session_due(played) <= now)
          while (neurig_session_advance(played, now, &time, frame.data()) > 0) events++;
        if (i % 300 == 299) neurig_session_replace(played, i % 2 ? &second : &first, now);
        if (i == 700) neurig_session_run(played, 0, now);
        if (i == 750) neurig_session_run(played, 1, now);
      }
      for (int i = 0; i < 200; i++) neurig_session_input(played, values.data(), count, now, nullptr, nullptr, 0);
      neurig_session_reset(played, now);
      neurig_session_replace(played, nullptr, now);
    });
    if ((events == 0) != (mode == NEURIG_MODE_USERONLY)) good = false, std::printf("it played %d frames\n", events);
    neurig_session_free(played);
    neurig_predictor_free(a);
    neurig_predictor_free(b);
  }
  return good;
}

int main(int count, char **files) {
  // That the counting works: these two must be seen.
  if (clean("malloc, as it should be", [] { free(malloc(10)); })) return 2;
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  if (clean("a lock, as it should be", [] { pthread_mutex_lock(&mutex), pthread_mutex_unlock(&mutex); })) return 2;
  bool good = true;
  char error[256];
  std::vector<float> taps(8192, 0.001f);
  neurig_model *ir = neurig_model_from_ir(taps.data(), 8192, 48000, error, sizeof error);
  good &= amp(ir, "IR");
  neurig_model_release(ir);
  for (int i = 1; i < count; i++) {
    neurig_model *model = neurig_model_load(files[i], error, sizeof error);
    if (!model) return std::printf("%s: %s\n", files[i], error), 1;
    good &= neurig_model_is_amp(model) ? amp(model, files[i])
                                       : predictor(model, files[i]) && session(model, files[i]);
    neurig_model_release(model);
  }
  return good ? 0 : 1;
}
