// Models that functions of the host compute: whatever its libraries can run is played like a model of our own.
#include <algorithm>
#include <cmath>

#include "foreign.h"
#include "mdrnn.h"

namespace neurig {
namespace {

// The host's functions, and the promise to release them.
class Engine {
 public:
  explicit Engine(const neurig_engine &engine) : engine_(engine) {}
  ~Engine() {
    if (kept_ && engine_.release) engine_.release(engine_.handle);
  }
  const neurig_engine *operator->() const { return &engine_; }
  void keep() { kept_ = true; }
  State zeros() const { return {Floats(size_t(engine_.state)), {}}; }

 private:
  neurig_engine engine_;
  bool kept_ = false;
};

class ForeignAmp : public AmpModel {
 public:
  ForeignAmp(const neurig_engine &engine, const Json &about) : engine_(engine) {
    if (!engine.process) throw Error("an amp needs a function that processes samples");
    rate = number(about, "sample_rate", "the description", 1000, 1e6);
    levels = levels_of(about.value("metadata", Json::object()));
    prewarm(engine_.zeros(), integer(about, "prewarm", "the description", 0, kMaxStateFloats));
  }
  void process(State &state, const float *, const float *in, float *out, int n) const override {
    if (engine_->process(engine_->handle, state.data.data(), in, out, n) < 0) std::fill_n(out, n, 0.f);
  }
  Engine engine_;
};

class ForeignNetwork : public Network {
 public:
  ForeignNetwork(const neurig_engine &engine, const Json &about) : engine_(engine) {
    if (!engine.step) throw Error("a predictor needs a function that makes a step");
    dimension = int(integer(about, "dimension", "the description", 2, 64));
    mixtures = int(integer(about, "mixtures", "the description", 1, 64));
    scale = float(number(about, "scale", "the description", 1e-3, 1e3));
  }
  State zeros() const override { return engine_.zeros(); }
  void step(State &state, const float *frame, Mixture &out) const override {
    float scaled[64];
    for (int d = 0; d < dimension; d++) scaled[d] = frame[d] * scale;
    engine_->step(engine_->handle, state.data.data(), scaled, out.mus.data(), out.sigmas.data(), out.logits.data());
  }
  Engine engine_;
};

template <class Kind> std::shared_ptr<Model> made(const neurig_engine &engine, Json about) {
  auto model = std::make_shared<Kind>(engine, about);
  for (const char *name : {"kind", "prewarm", "scale"}) about.erase(name);
  model->info = std::move(about);
  model->engine_.keep();
  return model;
}

}  // namespace

std::shared_ptr<Model> foreign_model(const neurig_engine &engine, const char *about) {
  const Json description = Json::parse(about, nullptr, false);
  if (!description.is_object()) throw Error("the description is not a JSON object");
  if (engine.state < 0 || engine.state > kMaxStateFloats)
    throw Error("the model needs more than " + std::to_string(kMaxStateFloats * 4 >> 20) + " MiB for each stream");
  return text(description, "kind", "the description") == "amp" ? made<ForeignAmp>(engine, description)
                                                              : made<ForeignNetwork>(engine, description);
}

}  // namespace neurig
