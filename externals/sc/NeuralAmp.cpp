/* NeuralAmp: a neural amp as a SuperCollider unit generator, for scsynth and supernova.
 *
 *   NeuralAmp.ar(in, model, gain, out, bypass, level, dbu, slim, params ...)
 *   NeuralAmpLatency.ir(model), .kr: the samples that it lags behind its input
 *
 * `model` is the number of a slot; the commands are neuralamp_read, neuralamp_free, neuralamp_query (see slots.h). When
 * a slot changes, all units on it crossfade; what a crossfade leaves goes to the Reaper.
 */
#include "slots.h"

#include <semaphore.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <system_error>
#include <thread>

namespace {

constexpr int kQuality = 1;   // of the sample-rate conversion
constexpr float kXfade = 20;  // ms

/* Frees the instances whose crossfade has ended, in a thread of its own, since a unit cannot start a command while
 * supernova computes it. */
class Reaper {
 public:
  Reaper() { sem_init(&wake_, 0, 0); }
  ~Reaper() {
    end_ = true;
    sem_post(&wake_);
    if (thread_.joinable()) thread_.join();
  }
  void start() {
    if (thread_.joinable()) return;
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error &) {  // the system has no thread left: the next unit tries again
    }
  }
  /* Real time. False: there is no place just now. */
  bool take(neurig_instance *instance) {
    for (auto &place : places_) {
      neurig_instance *none = nullptr;
      if (!place.compare_exchange_strong(none, instance)) continue;
      sem_post(&wake_);
      return true;
    }
    return false;
  }

 private:
  void run() {
    while (!end_) {
      sem_wait(&wake_);
      for (auto &place : places_)
        if (neurig_instance *instance = place.exchange(nullptr)) neurig_instance_free(instance);
    }
  }
  std::atomic<neurig_instance *> places_[64] = {};
  std::atomic<bool> end_{false};
  sem_t wake_;
  std::thread thread_;
};
Reaper reaper;

struct NeuralAmp : public SlotUnit<NeuralAmp, neurig_amp, neurig_instance> {
  NeuralAmp();
  ~NeuralAmp() { leave(amp, gone); }
  void next(int n);
  void silence(int n) { ClearUnitOutputs(this, n); }
  void set(int param, float value) {
    if (value == last[param]) return;
    last[param] = value;
    neurig_amp_set(amp, param, value);
  }

  // inputs
  enum { kIn, kModel, kGain, kOut, kBypass, kLevel, kDbu, kSlim, kParams };

  /* A gain at audio rate; 1 at another, for then it is the amp's. */
  float gain(int input, int i) const {
    if (!isAudioRateIn(input)) return 1;
    const float db = in(input)[i];
    return std::pow(10.f, 0.05f * (db >= -60 ? std::min(db, 60.f) : -60.f));  // what is not a number is soft
  }
  void set_gain(int param, int input) { set(param, isAudioRateIn(input) ? 0 : in0(input)); }
  void process_by_signals(int n);

  neurig_amp *amp;        // nullptr until it is made
  neurig_instance *gone;  // replaced, and not heard any more
  float last[6];          // of neurig_amp's settings
  bool gains, knobs;      // is a gain, is one of the model's knobs at audio rate?
  float dry;              // how much of the input is heard, where a gain is

  /* For the slots */

  static constexpr const char *kName = "NeuralAmp", *kRead = "neuralamp_read", *kFree = "neuralamp_free",
                              *kQuery = "neuralamp_query";

  static const char *refuse(const neurig_model *model) {
    return neurig_model_is_amp(model) ? nullptr : "this model is a predictor, not an amp";
  }
  static neurig_amp *make_player(World *world) {
    reaper.start();
    neurig_amp *made = neurig_amp_new(world->mSampleRate);
    if (made) neurig_amp_set(made, NEURIG_AMP_XFADE, kXfade);
    return made;
  }
  static void free_player(neurig_amp *player) { neurig_amp_free(player); }
  static neurig_instance *make_voice(World *world, neurig_model *model, char *reason, int size) {
    return neurig_instance_new(model, world->mSampleRate, kQuality, reason, size);
  }
  static void free_voice(neurig_instance *voice) { neurig_instance_free(voice); }

  /* Rate, latency, params; the names of the params. */
  static void describe(neurig_model *model, neurig_instance *voice, float *about, std::string &lines) {
    about[0] = static_cast<float>(neurig_model_rate(model));
    about[1] = static_cast<float>(neurig_instance_latency(voice));
    about[2] = static_cast<float>(neurig_model_params(model));
    for (int i = 0; i < neurig_model_params(model); i++) lines.append("\n").append(neurig_model_param_name(model, i));
  }

  static inline float latencies[kSlots] = {};  // real-time thread only, changed while no audio is computed
  static void changed(int slot, const float *about) { latencies[slot] = about[1]; }

  static neurig_instance *join(World *world, neurig_amp *player, neurig_instance *voice) {
    if (world->mRealTime) {  // its unit has been running for some blocks: an amp that has begun fades in
      float silence = 0;
      neurig_amp_process(player, &silence, &silence, 1);
    }
    return neurig_amp_swap(player, voice);
  }
  void attach(neurig_amp *player, neurig_instance *) { amp = player; }
  neurig_instance *change(neurig_instance *voice) { return amp ? neurig_amp_swap(amp, voice) : voice; }
};

NeuralAmp::NeuralAmp() {
  amp = nullptr;
  gone = nullptr;
  for (float &value : last) value = NAN;  // none is set yet
  gains = isAudioRateIn(kGain) || isAudioRateIn(kOut);
  knobs = false;
  for (int i = kParams; i < numInputs(); i++) knobs |= isAudioRateIn(i);
  dry = gains && in0(kBypass) > 0.5f;
  // The amp may be there before this constructor returns (non-real-time synthesis), and must not hear a sample yet.
  mCalcFunc = isAudioRateIn(kIn) ? make_calc_function<SlotUnit, &SlotUnit::compute>()
                                 : make_calc_function<NeuralAmp, &NeuralAmp::silence>();
  silence(1);
  enlist(in0(kModel));
}

void NeuralAmp::next(int n) {
  if (!amp) return silence(n);
  set_gain(NEURIG_AMP_GAIN, kGain);
  set_gain(NEURIG_AMP_OUT, kOut);
  set(NEURIG_AMP_BYPASS, gains ? 0 : in0(kBypass));
  set(NEURIG_AMP_LEVEL, in0(kLevel));
  set(NEURIG_AMP_DBU, in0(kDbu));
  neurig_instance *instance = neurig_amp_instance(amp);
  if (instance) neurig_instance_set_slim(instance, in0(kSlim));
  for (int i = kParams; instance && i < numInputs(); i++) neurig_instance_set_param(instance, i - kParams, in0(i));
  if (gains || knobs)
    process_by_signals(n);
  else
    neurig_amp_process(amp, in(kIn), out(0), n);
  if (!gone) gone = neurig_amp_collect(amp);
  if (gone && reaper.take(gone)) gone = nullptr;
}

/* Where a gain is a signal, it is multiplied with here, and so the bypass is here, too: what it lets through has no
 * gain. Where one of the model's knobs is a signal, it is turned for every sample. */
void NeuralAmp::process_by_signals(int n) {
  constexpr int kPiece = 64;
  const float *x = in(kIn);
  float *y = out(0), driven[kPiece], wet[kPiece];
  const float step = 1 / (0.001f * kXfade * static_cast<float>(sampleRate()));
  const float target = gains && in0(kBypass) > 0.5f;
  for (int done = 0, count; done < n; done += count) {
    count = knobs ? 1 : std::min(n - done, kPiece);
    for (int i = 0; i < count; i++) driven[i] = x[done + i] * gain(kGain, done + i);
    if (neurig_instance *instance = knobs && done ? neurig_amp_instance(amp) : nullptr)
      for (int i = kParams; i < numInputs(); i++)
        if (isAudioRateIn(i)) neurig_instance_set_param(instance, i - kParams, in(i)[done]);
    neurig_amp_process(amp, driven, wet, count);
    for (int i = 0; i < count; i++) {  // y may be the memory of x, or of a gain
      const float out_gain = gain(kOut, done + i);
      dry = dry < target ? std::min(dry + step, target) : std::max(dry - step, target);
      y[done + i] = dry == 1 ? x[done + i] : dry * x[done + i] + (1 - dry) * wet[i] * out_gain;
    }
  }
}

/* The samples by which the model of a slot lags behind its input: 0 where the slot is empty. */
struct NeuralAmpLatency : public SCUnit {
  NeuralAmpLatency() {
    mCalcFunc = make_calc_function<NeuralAmpLatency, &NeuralAmpLatency::next>();
    next(1);
  }
  void next(int) {
    const float slot = in0(0);
    out0(0) = slot >= 0 && slot < kSlots ? NeuralAmp::latencies[static_cast<int>(slot)] : 0;
  }
};

}  // namespace

PluginLoad(NeuralAmp) {
  ft = inTable;
  registerUnit<NeuralAmp>(ft, "NeuralAmp");
  registerUnit<NeuralAmpLatency>(ft, "NeuralAmpLatency");
  NeuralAmp::define_commands();
}
