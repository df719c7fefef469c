// neurig.h over the C++ classes: handles in, errors out as text, no exception past this file.
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>

#include "amp.h"
#include "foreign.h"
#include "neurig.h"
#include "predictor.h"
#include "session.h"

using namespace neurig;

// Handles. A model's counts the references that hosts hold.
struct neurig_model {
  std::shared_ptr<const Model> model;
  std::atomic<int> references{1};
  const AmpModel *amp() const { return dynamic_cast<const AmpModel *>(model.get()); }
};
struct neurig_instance : Instance {
  neurig_instance(neurig_model *handle, double rate, int quality, int channels = 1, bool exact = false)
      : Instance(handle->model, rate, quality, channels, exact), handle_(neurig_model_retain(handle)) {}
  ~neurig_instance() override { neurig_model_release(handle_); }
  neurig_model *handle_;
};
struct neurig_amp : Amp {
  using Amp::Amp;
};
struct neurig_predictor : Predictor {
  using Predictor::Predictor;
};
struct neurig_session : Session {
  using Session::Session;
};

namespace {

template <class Make> auto guarded(char *error, int size, Make make) -> decltype(make()) {
  const auto say = [error, size](const char *text) {
    if (error && size > 0) std::snprintf(error, size_t(size), "%s", text);
  };
  try {
    say("");
    return make();
  } catch (const std::bad_alloc &) {
    say("there is not enough memory");
  } catch (const std::exception &e) {
    say(e.what());
  }
  return nullptr;
}

neurig_model *handle_of(std::shared_ptr<Model> model) {
  const auto *amp = dynamic_cast<const AmpModel *>(model.get());
  Json &info = model->info;
  info["kind"] = amp ? "amp" : "predictor";
  info["sample_rate"] = model->rate;
  info["params"] = Json::array();
  for (const Param &p : model->params)
    info["params"].push_back({{"name", p.name}, {"default", p.preset}, {"low", p.low}, {"high", p.high}});
  // Metadata may hold bytes that are not UTF-8; they are shown as a question mark.
  model->info_text = info.dump(-1, ' ', false, Json::error_handler_t::replace);
  auto *handle = new neurig_model;
  handle->model = std::move(model);
  return handle;
}

std::string contents(const char *path) {
  struct stat about {};
  if (stat(path, &about)) throw Error("the file cannot be opened: " + std::generic_category().message(errno));
  if (S_ISDIR(about.st_mode)) throw Error("it is a folder, not a file");
  if (!S_ISREG(about.st_mode)) throw Error("it is no file, but a pipe or a device");  // whose end may never come
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw Error("the file cannot be opened: " + std::generic_category().message(errno));
  const std::streamoff size = file.tellg();
  if (size < 0) throw Error("the file cannot be read");
  if (size > kMaxFileBytes) throw Error("the file is larger than " + std::to_string(kMaxFileBytes >> 20) + " MiB");
  std::string text(size_t(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) throw Error("the file cannot be read");
  return text;
}

// A predictor as a session's network: its frames are floats, a session's doubles.
constexpr int kMaxDimension = 64;
int condition(void *predictor, const double *frame) {
  auto *self = static_cast<neurig_predictor *>(predictor);
  float narrow[kMaxDimension];
  std::copy_n(frame, self->model().dimension, narrow);
  self->condition(narrow);
  return 0;
}
int predict(void *predictor, double pi_temp, double sigma_temp, double *frame) {
  auto *self = static_cast<neurig_predictor *>(predictor);
  float narrow[kMaxDimension];
  self->predict(float(pi_temp), float(sigma_temp), narrow);
  std::copy_n(narrow, self->model().dimension, frame);
  return 0;
}
void reset(void *predictor) { static_cast<neurig_predictor *>(predictor)->reset(); }
void seed(void *predictor, uint64_t seed) { static_cast<neurig_predictor *>(predictor)->seed(seed); }

constexpr const char *kModes[NEURIG_MODES] = {"callresponse", "polyphony", "battle", "useronly", "filter"};

}  // namespace

extern "C" {

const char *neurig_version(void) { return NEURIG_VERSION; }

neurig_model *neurig_model_load(const char *path, char *error, int size) {
  return guarded(error, size, [&] {
    const std::string text = contents(path);
    return handle_of(read_model(text.data(), text.size()));
  });
}
neurig_model *neurig_model_parse(const char *text, int64_t length, char *error, int size) {
  return guarded(error, size, [&] { return handle_of(read_model(text, size_t(length))); });
}
void neurig_prefer_sound_library(const char *path) { prefer_sound_library(path); }
neurig_model *neurig_model_from_ir(const float *samples, int64_t frames, double rate, char *error, int size) {
  return guarded(error, size, [&] {
    return handle_of(impulse_response({std::vector<float>(samples, samples + std::max<int64_t>(frames, 0))}, rate));
  });
}
neurig_model *neurig_model_from_engine(const neurig_engine *engine, const char *about, char *error, int size) {
  return guarded(error, size, [&] { return handle_of(foreign_model(*engine, about)); });
}
neurig_model *neurig_model_retain(neurig_model *model) {
  if (model) model->references.fetch_add(1, std::memory_order_relaxed);
  return model;
}
void neurig_model_release(neurig_model *model) {
  if (model && model->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete model;
}
const char *neurig_model_info(const neurig_model *model) { return model->model->info_text.c_str(); }
const char *neurig_model_warning(const neurig_model *model) {
  const auto found = model->model->info.find("warning");
  return found == model->model->info.end() ? nullptr : found->get_ref<const std::string &>().c_str();
}
int neurig_model_is_amp(const neurig_model *model) { return model->amp() != nullptr; }
int neurig_model_is_predictor(const neurig_model *model) { return model->amp() == nullptr; }
double neurig_model_rate(const neurig_model *model) { return model->model->rate; }
int neurig_model_params(const neurig_model *model) { return int(model->model->params.size()); }
int neurig_model_sizes(const neurig_model *model) { return model->amp() ? int(model->amp()->slimmer.size()) + 1 : 1; }
const char *neurig_model_param_name(const neurig_model *model, int index) {
  const auto &params = model->model->params;
  return index < 0 || size_t(index) >= params.size() ? nullptr : params[size_t(index)].name.c_str();
}

neurig_instance *neurig_instance_new(neurig_model *model, double rate, int quality, char *error, int size) {
  return guarded(error, size, [&] { return new neurig_instance(model, rate, quality); });
}
neurig_instance *neurig_instance_new_channels(neurig_model *model, double rate, int quality, int channels, int exact,
                                              char *error, int size) {
  return guarded(error, size, [&] { return new neurig_instance(model, rate, quality, channels, exact != 0); });
}
int neurig_instance_channels(const neurig_instance *instance) { return instance->channels(); }
neurig_instance *neurig_instance_new_deferred(neurig_model *model, double rate, int quality, int channels, int delay,
                                              char *error, int size) {
  return guarded(error, size, [&] {
    auto instance = std::make_unique<neurig_instance>(model, rate, quality, channels);
    instance->defer(delay);
    return instance.release();
  });
}
int64_t neurig_instance_late(const neurig_instance *instance) { return instance->late(); }
void neurig_instance_set_waiting(neurig_instance *instance, int on) { instance->set_waiting(on != 0); }
double neurig_instance_cpu(const neurig_instance *instance) { return instance->cpu(); }
void neurig_instance_free(neurig_instance *instance) { delete instance; }
void neurig_instance_process(neurig_instance *instance, const float *in, float *out, int n) {
  instance->process(in, out, n);
}
void neurig_instance_reset(neurig_instance *instance) { instance->reset(); }
int neurig_instance_latency(const neurig_instance *instance) { return instance->latency(); }
void neurig_instance_set_param(neurig_instance *instance, int index, float value) { instance->set_param(index, value); }
float neurig_instance_param(const neurig_instance *instance, int index) { return instance->param(index); }
void neurig_instance_set_slim(neurig_instance *instance, float size) { instance->set_slim(size); }
float neurig_instance_slim(const neurig_instance *instance) { return instance->slim(); }
neurig_model *neurig_instance_model(const neurig_instance *instance) { return instance->handle_; }

neurig_amp *neurig_amp_new(double rate) {
  return guarded(nullptr, 0, [&] { return new neurig_amp(rate); });
}
neurig_amp *neurig_amp_new_channels(double rate, int channels) {
  return guarded(nullptr, 0, [&] { return new neurig_amp(rate, channels); });
}
void neurig_amp_free(neurig_amp *amp) { delete amp; }
neurig_instance *neurig_amp_swap(neurig_amp *amp, neurig_instance *fresh) {
  return static_cast<neurig_instance *>(amp->swap(fresh));
}
neurig_instance *neurig_amp_collect(neurig_amp *amp) { return static_cast<neurig_instance *>(amp->collect()); }
neurig_instance *neurig_amp_instance(const neurig_amp *amp) { return static_cast<neurig_instance *>(amp->instance()); }
void neurig_amp_set(neurig_amp *amp, int param, float value) { amp->set(param, value); }
float neurig_amp_get(const neurig_amp *amp, int param) {
  return param < 0 || param > NEURIG_AMP_DBU ? 0.f : amp->get(param);
}
int neurig_amp_level(const neurig_amp *amp) { return amp->level(); }
void neurig_amp_process(neurig_amp *amp, const float *in, float *out, int n) { amp->process(in, out, n); }
void neurig_amp_reset(neurig_amp *amp) { amp->reset(); }

neurig_predictor *neurig_predictor_new(neurig_model *model, uint64_t seed, char *error, int size) {
  return guarded(error, size, [&] {
    auto network = std::dynamic_pointer_cast<const Network>(model->model);
    if (!network) throw Error("this model is an amp, not a predictor");
    return new neurig_predictor(std::move(network), seed);
  });
}
void neurig_predictor_free(neurig_predictor *predictor) { delete predictor; }
int neurig_predictor_dimension(const neurig_predictor *predictor) { return predictor->model().dimension; }
int neurig_predictor_mixtures(const neurig_predictor *predictor) { return predictor->model().mixtures; }
void neurig_predictor_condition(neurig_predictor *predictor, const float *frame) { predictor->condition(frame); }
void neurig_predictor_predict(neurig_predictor *predictor, float pi_temp, float sigma_temp, float *frame) {
  predictor->predict(pi_temp, sigma_temp, frame);
}
void neurig_predictor_sample(neurig_predictor *predictor, float pi_temp, float sigma_temp, float *frame) {
  predictor->sample(pi_temp, sigma_temp, frame);
}
void neurig_predictor_mixture(const neurig_predictor *predictor, float *mus, float *sigmas, float *pi_logits) {
  const Network::Mixture &m = predictor->mixture();
  std::copy(m.mus.begin(), m.mus.end(), mus);
  std::copy(m.sigmas.begin(), m.sigmas.end(), sigmas);
  std::copy(m.logits.begin(), m.logits.end(), pi_logits);
}
void neurig_predictor_reset(neurig_predictor *predictor) { predictor->reset(); }
void neurig_predictor_seed(neurig_predictor *predictor, uint64_t seed) { predictor->seed(seed); }

const char *neurig_mode_name(int mode) { return mode < 0 || mode >= NEURIG_MODES ? nullptr : kModes[mode]; }
int neurig_mode(const char *name) {
  for (int mode = 0; mode < NEURIG_MODES; mode++)
    if (!std::strcmp(name, kModes[mode])) return mode;
  return -1;
}
neurig_network neurig_predictor_network(neurig_predictor *predictor) {
  return {predictor->model().dimension, predictor, condition, predict, reset, seed};
}
neurig_session *neurig_session_new(int dimension, double now, char *error, int size) {
  return guarded(error, size, [&] { return new neurig_session(dimension, now); });
}
void neurig_session_free(neurig_session *session) { delete session; }
int neurig_session_replace(neurig_session *session, const neurig_network *network, double now) {
  try {
    session->replace(network, now);
    return 0;
  } catch (const std::bad_alloc &) {
    return -1;
  }
}
int neurig_session_dimension(const neurig_session *session) { return session->dimension(); }
int neurig_session_set_mode(neurig_session *session, int mode, double now) {
  return session->set_mode(mode, now) ? 0 : -1;
}
int neurig_session_mode(const neurig_session *session) { return session->mode(); }
void neurig_session_run(neurig_session *session, int on, double now) { session->run(on != 0, now); }
int neurig_session_running(const neurig_session *session) { return session->running(); }
int neurig_session_set(neurig_session *session, int setting, double value) {
  return session->set(setting, value) ? 0 : -1;
}
double neurig_session_get(const neurig_session *session, int setting) {
  return setting < 0 || setting >= NEURIG_SESSION_SETTINGS ? 0 : session->get(setting);
}
void neurig_session_seed(neurig_session *session, uint64_t seed) { session->seed(seed); }
void neurig_session_reset(neurig_session *session, double now) { session->reset(now); }
int neurig_session_input(neurig_session *session, const double *values, int count, double now, double *frame,
                         char *error, int size) {
  return session->input(values, count, now, frame, error, size);
}
double neurig_session_due(const neurig_session *session) { return session->due(); }
int neurig_session_advance(neurig_session *session, double now, double *time, double *frame) {
  return session->advance(now, time, frame);
}

}  // extern "C"
