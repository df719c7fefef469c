// [neuralamp~ file]: a neural amp in the signal path of a Pd patch.
//
//   flags      -ch n (inlets and outlets for signals), -knobs n (inlets for the model's knobs), -threaded n (the model
//              computes on a thread of its own, and is heard n blocks later), -xfade ms, -q 0|1|2 (quality of
//              sample-rate conversion)
//   messages   load file, unload, reset, prewarm, async 0|1, bypass 0|1, gain dB, out dB, normalize 0|1, calibrate dBu,
//              slim 0..1, xfade ms, param name-or-index value, bang (information), print
//   inlets     signals; a signal or number for each knob of the model that the arguments name, or as -knobs says
//   outlets    signals; information: loaded path | unloaded | error path reason; after loaded, and on bang: arch name,
//              samplerate model host, latency samples, loudness dB (where the file tells), params name value …,
//              cpu percent, late samples (with -threaded)
//
// Pd calls everything here in one thread, messages and signals alike, so nothing is locked. Files are read, and
// instances made, in a thread of their own (loading.h); a clock fetches what is ready and puts it into the amp. With
// -threaded it is the instance that has a thread, and the core that hands it samples and knobs (core/deferred.h).
#include "loading.h"

#include <dlfcn.h>
#include <strings.h>
#include <time.h>

#include <algorithm>
#include <vector>

namespace {

using Instance = std::unique_ptr<neurig_instance, Free<neurig_instance_free>>;
using Amp = std::unique_ptr<neurig_amp, Free<neurig_amp_free>>;

// Pd 0.54 and later have signals of several channels. One binary serves all versions: what is newer than 0.53 is looked
// up when the object is loaded, and the signal's channels are read where a newer Pd has put them.
constexpr int kMaxChannels = 64;  // neurig_amp_new_channels
constexpr int kMaxDelay = 1 << 20;  // samples; neurig_instance_new_deferred
constexpr int kMaxThreaded = 1024;  // blocks
constexpr int kMaxKnobs = 64;
constexpr int kSlice = 64;  // samples for which knobs stay as they are
constexpr int kMultichannelClass = 0x10;
void (*set_multi_out)(t_signal **, int);  // null before 0.54
struct MultichannelSignal {
  int length;
  t_sample *vec;
  t_float sr;
  int channels;
};

int channels_of(const t_signal *signal) {
  return set_multi_out ? reinterpret_cast<const MultichannelSignal *>(signal)->channels : 1;
}

// What an instance is made for.
struct Place {
  int channels = 0;  // those of all inlets together
  double rate = 0;   // Hz
  int quality = 1;
  int delay = 0;     // samples, of a thread of its own; 0: it has none
  bool operator==(const Place &other) const {
    return channels == other.channels && rate == other.rate && quality == other.quality && delay == other.delay;
  }
};

// What a load gives: everything that the amp needs, or the reason why not.
struct Loaded {
  std::string path, error;
  Model model;
  Instance instance;
  Place place;
};

// A signal inlet and its outlet.
struct Wire {
  t_sample *in, *out;
  int channels;
};

// An inlet for a knob. It turns the knob when what it gets changes, so that messages can turn the knob, too.
struct KnobInlet {
  t_sample *in = nullptr;
  t_sample last;  // what it got
  bool moved = false;
};

// CPU time of the model, as a part of the time that its signal lasts; over about a second.
struct Meter {
  double busy = 0, lasted = 0;                // seconds so far
  const neurig_instance *instance = nullptr;  // that has a thread, …
  double worker = 0;                          // … and what that had used when the second began
  double percent = 0;                         // in the last whole second

  void add(double seconds, double signal, const neurig_instance *now) {
    busy += seconds;
    lasted += signal;
    if (lasted < 1) return;
    const double used = now ? neurig_instance_cpu(now) : 0;
    percent = 100 * (busy + (now == instance ? used - worker : 0)) / lasted;
    busy = lasted = 0;
    instance = now;
    worker = used;
  }
};

struct Player {
  t_outlet *information;
  t_canvas *canvas;
  t_clock *clock;
  bool in_background = true;
  int threaded = 0;           // blocks; 0: the model computes where all of Pd does
  int block = 0;              // samples
  // as in neurig.h: NEURIG_AMP_GAIN, OUT, BYPASS, XFADE, LEVEL, DBU
  float settings[6] = {0, 0, 0, 20, NEURIG_LEVEL_RAW, 12};
  float slim = 1;             // of models that come in several sizes
  Amp amp;
  Place place;                // of the amp's instances
  size_t inlets = 1;          // for signals; there are as many outlets
  std::string path;           // of the model that plays
  Model model;
  std::vector<float> knobs;   // the model's own
  int replaced = 0;           // instances that the amp still fades out
  std::vector<Wire> wires;    // one per inlet
  std::vector<KnobInlet> knob_inlets;
  std::vector<float> buffer;  // a slice of all channels: [channels][n]
  Meter meter;
  Background<Loaded> loading;
};

struct NeuralAmp {
  t_object object;
  t_float number;  // stands for the signal where none is connected
  Player *player;
};

t_class *neural_amp_class;

// ---- Models into the amp --------------------------------------------------------------------------------------------

Instance make(neurig_model *model, const Place &place, std::string &error) {
  const auto &[channels, rate, quality, delay] = place;
  char reason[kErrorSize] = "";
  Instance made(delay ? neurig_instance_new_deferred(model, rate, quality, channels, delay, reason, sizeof reason)
                      : neurig_instance_new_channels(model, rate, quality, channels, 0, reason, sizeof reason));
  if (!made) error = reason;
  return made;
}

// In any thread.
Loaded read(const std::string &path, const Place &place) {
  Loaded loaded;
  char reason[kErrorSize] = "";
  loaded.path = path;
  loaded.place = place;
  loaded.model.reset(neurig_model_load(path.c_str(), reason, sizeof reason));
  if (!loaded.model)
    loaded.error = reason;
  else if (!neurig_model_is_amp(loaded.model.get()))
    loaded.error = "this is no amp but a predictor, which [mdrnn] plays";
  else
    loaded.instance = make(loaded.model.get(), place, loaded.error);
  return loaded;
}

// Puts a fresh instance in the place of the one that sounds; none: puts nothing there.
void swap(Player &player, Instance fresh) {
  if (neurig_amp_instance(player.amp.get())) player.replaced++;
  if (fresh) {
    neurig_instance_set_slim(fresh.get(), player.slim);
    neurig_instance_set_waiting(fresh.get(), !player.in_background);
  }
  Instance old(neurig_amp_swap(player.amp.get(), fresh.release()));
  if (old) player.replaced--;
}

void set_background(Player &player, bool on) {
  player.in_background = on;
  if (neurig_instance *instance = neurig_amp_instance(player.amp.get())) neurig_instance_set_waiting(instance, !on);
}

// Turns one of the model's own knobs.
void turn(Player &player, size_t knob, float value) {
  neurig_instance *instance = neurig_amp_instance(player.amp.get());
  if (!instance) return;
  neurig_instance_set_param(instance, static_cast<int>(knob), value);
  player.knobs[knob] = neurig_instance_param(instance, static_cast<int>(knob));  // within its range
}

// Makes the amp for so many channels, at this rate, in blocks of this size, and brings the model that plays into it.
void prepare(NeuralAmp *x, int channels, double rate, int block) {
  Player &player = *x->player;
  const Place before = player.place;
  player.block = block;
  player.place.channels = channels;
  player.place.rate = rate;
  player.place.delay = static_cast<int>(std::min<int64_t>(int64_t{player.threaded} * block, kMaxDelay));
  if (player.amp && player.place == before) return;
  player.replaced = 0;
  player.amp.reset(neurig_amp_new_channels(rate, channels));
  for (int setting = 0; setting < static_cast<int>(std::size(player.settings)); setting++) {
    neurig_amp_set(player.amp.get(), setting, player.settings[setting]);
    player.settings[setting] = neurig_amp_get(player.amp.get(), setting);  // within its range
  }
  if (!player.model) return;
  std::string error;
  swap(player, make(player.model.get(), player.place, error));
  if (!error.empty()) pd_error(x, "neuralamp~: %s: %s", player.path.c_str(), error.c_str());
  for (size_t knob = 0; knob < player.knobs.size(); knob++) turn(player, knob, player.knobs[knob]);
}

// ---- Telling --------------------------------------------------------------------------------------------------------

void inform(NeuralAmp *x) {
  const Player &player = *x->player;
  Messages messages;
  if (player.model) {
    const auto info = nlohmann::json::parse(neurig_model_info(player.model.get()));
    const auto metadata = info.value("metadata", nlohmann::json::object());
    const auto loudness = metadata.is_object() ? metadata.value("loudness", nlohmann::json()) : nlohmann::json();
    const neurig_instance *instance = neurig_amp_instance(player.amp.get());
    messages.add("loaded", {atom(player.path)});
    messages.add("arch", {atom(info.value("architecture", "unknown"))});
    messages.add("samplerate", {atom(neurig_model_rate(player.model.get())), atom(player.place.rate)});
    messages.add("latency", {atom(instance ? neurig_instance_latency(instance) : 0)});
    if (loudness.is_number()) messages.add("loudness", {atom(loudness.get<double>())});
    std::vector<t_atom> params;
    for (size_t knob = 0; knob < player.knobs.size(); knob++) {
      params.push_back(atom(neurig_model_param_name(player.model.get(), static_cast<int>(knob))));
      params.push_back(atom(player.knobs[knob]));
    }
    messages.add("params", params);
    messages.add("cpu", {atom(pd_getdspstate() ? player.meter.percent : 0.)});
    if (player.threaded) messages.add("late", {atom(instance ? double(neurig_instance_late(instance)) : 0.)});
  } else {
    messages.add("unloaded", {});
  }
  messages.send(player.information);
}

void print(NeuralAmp *x) {
  const Player &player = *x->player;
  if (!player.model) {
    post("neuralamp~: nothing is loaded");
  } else {
    post("neuralamp~: %s", player.path.c_str());
    post("  model %g Hz, host %g Hz, channels %d, loaded %s", neurig_model_rate(player.model.get()),
         player.place.rate, player.place.channels, player.in_background ? "in the background" : "at once");
    if (player.threaded)
      post("  on a thread of its own, %d samples later (%d blocks of %d)", player.place.delay, player.threaded,
           player.block);
    for (size_t knob = 0; knob < player.knobs.size(); knob++)
      post("  param %s %g", neurig_model_param_name(player.model.get(), static_cast<int>(knob)), player.knobs[knob]);
  }
  const char *const levels[] = {"raw", "normalised", "calibrated"};
  post("  level %s (asked for: %s at %g dBu), slim %g of %d sizes", levels[neurig_amp_level(player.amp.get())],
       levels[static_cast<int>(player.settings[NEURIG_AMP_LEVEL])], player.settings[NEURIG_AMP_DBU], player.slim,
       player.model ? neurig_model_sizes(player.model.get()) : 1);
  post("  gain %g dB, out %g dB, bypass %g, xfade %g ms, neurig %s", player.settings[NEURIG_AMP_GAIN],
       player.settings[NEURIG_AMP_OUT], player.settings[NEURIG_AMP_BYPASS], player.settings[NEURIG_AMP_XFADE],
       neurig_version());
}

// ---- Loading --------------------------------------------------------------------------------------------------------

// Brings what was loaded to be heard; where the load failed, all stays as it was.
void take(NeuralAmp *x, Loaded loaded) {
  Player &player = *x->player;
  if (loaded.error.empty() && !(loaded.place == player.place))  // the signal has changed meanwhile
    loaded.instance = make(loaded.model.get(), player.place, loaded.error);
  if (!loaded.error.empty()) return fail(x, "neuralamp~", player.information, loaded.path, loaded.error);
  player.knobs.clear();
  for (int knob = 0; knob < neurig_model_params(loaded.model.get()); knob++)
    player.knobs.push_back(neurig_instance_param(loaded.instance.get(), knob));
  swap(player, std::move(loaded.instance));
  player.model = std::move(loaded.model);
  player.path = std::move(loaded.path);
  if (const char *warning = neurig_model_warning(player.model.get()))
    post("neuralamp~: %s: %s", player.path.c_str(), warning);
  for (size_t knob = 0; knob < std::min(player.knobs.size(), player.knob_inlets.size()); knob++)
    if (player.knob_inlets[knob].moved) turn(player, knob, static_cast<float>(player.knob_inlets[knob].last));
  clock_delay(player.clock, kPollMs);
  inform(x);
}

// The clock: frees what the amp has faded out, and fetches what was loaded.
void poll(NeuralAmp *x) {
  Player &player = *x->player;
  if (Instance(neurig_amp_collect(player.amp.get()))) player.replaced--;
  Loaded loaded;
  const bool finished = player.loading.finished(loaded);
  if (player.replaced || player.loading.busy()) clock_delay(player.clock, kPollMs);
  if (finished) take(x, std::move(loaded));
}

void load(NeuralAmp *x, t_symbol *, int argc, t_atom *argv) {
  Player &player = *x->player;
  const std::string name = text(argc, argv);
  if (name.empty()) return pd_error(x, "neuralamp~: load: needs the name of a file");
  const std::string path = find_file(player.canvas, name, ".nam");
  if (path.empty()) return fail(x, "neuralamp~", player.information, name, kNotFound);
  const auto job = [path, place = player.place] { return read(path, place); };
  if (player.in_background) {
    player.loading.start(job);
    clock_delay(player.clock, kPollMs);
  } else {
    player.loading.forget();
    take(x, job());
  }
}

void unload(NeuralAmp *x) {
  Player &player = *x->player;
  player.loading.forget();
  swap(player, nullptr);
  player.model.reset();
  player.path.clear();
  player.knobs.clear();
  clock_delay(player.clock, kPollMs);
  inform(x);
}

// ---- Other messages -------------------------------------------------------------------------------------------------

bool is_number(NeuralAmp *x, t_float value) {
  if (std::isfinite(value)) return true;
  pd_error(x, "neuralamp~: %g is no finite number", value);
  return false;
}

void set(NeuralAmp *x, int setting, t_float value) {
  if (!is_number(x, value)) return;
  neurig_amp_set(x->player->amp.get(), setting, static_cast<float>(value));
  x->player->settings[setting] = neurig_amp_get(x->player->amp.get(), setting);
}

void gain(NeuralAmp *x, t_float dB) { set(x, NEURIG_AMP_GAIN, dB); }
void out(NeuralAmp *x, t_float dB) { set(x, NEURIG_AMP_OUT, dB); }
// What a model's file does not state cannot be had: say so once it is asked for.
void level(NeuralAmp *x, int asked) {
  set(x, NEURIG_AMP_LEVEL, static_cast<t_float>(asked));
  const neurig_amp *amp = x->player->amp.get();
  if (neurig_amp_instance(amp) && neurig_amp_level(amp) != asked)
    post("neuralamp~: the model's file does not state its %s: it plays %s",
         asked == NEURIG_LEVEL_NORMALISED ? "loudness" : "input level",
         neurig_amp_level(amp) == NEURIG_LEVEL_RAW ? "as it is" : "normalised");
}
void normalize(NeuralAmp *x, t_float on) { level(x, on != 0 ? NEURIG_LEVEL_NORMALISED : NEURIG_LEVEL_RAW); }
void calibrate(NeuralAmp *x, t_float dbu) {
  if (!is_number(x, dbu)) return;
  set(x, NEURIG_AMP_DBU, dbu);
  level(x, NEURIG_LEVEL_CALIBRATED);
}
void slim(NeuralAmp *x, t_float size) {
  if (!is_number(x, size)) return;
  x->player->slim = static_cast<float>(size < 0 ? 0 : size > 1 ? 1 : size);
  if (neurig_instance *instance = neurig_amp_instance(x->player->amp.get()))
    neurig_instance_set_slim(instance, x->player->slim);
}
void bypass(NeuralAmp *x, t_float on) { set(x, NEURIG_AMP_BYPASS, on != 0); }
void xfade(NeuralAmp *x, t_float ms) { set(x, NEURIG_AMP_XFADE, ms); }
// 0 for rendering without time: Pd waits for loads, and for a model that has a thread of its own.
void async(NeuralAmp *x, t_float on) { set_background(*x->player, on != 0); }

void reset(NeuralAmp *x) { neurig_amp_reset(x->player->amp.get()); }

// param name-or-index value; a name may have spaces in it, and is found in any case of letters.
void param(NeuralAmp *x, t_symbol *, int argc, t_atom *argv) {
  Player &player = *x->player;
  if (argc < 2 || argv[argc - 1].a_type != A_FLOAT)
    return pd_error(x, "neuralamp~: param: needs a name (or a number, from 0) and a value");
  const float value = static_cast<float>(argv[argc - 1].a_w.w_float);
  if (!is_number(x, value)) return;
  const std::string name = text(argc - 1, argv);
  std::string names;
  for (size_t knob = 0; knob < player.knobs.size(); knob++) {
    const std::string its_name = neurig_model_param_name(player.model.get(), static_cast<int>(knob));
    names += (knob ? ", " : "") + its_name;
    if (strcasecmp(name.c_str(), its_name.c_str()) && name != std::to_string(knob)) continue;
    turn(player, knob, value);
    return;
  }
  if (names.empty())
    pd_error(x, "neuralamp~: param: no model with params is loaded");
  else
    pd_error(x, "neuralamp~: param: there is no %s; the model has %s", name.c_str(), names.c_str());
}

// ---- Signals --------------------------------------------------------------------------------------------------------

double seconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// A slice of the block, from sample `start` on. All inlets are read before an outlet is written: they may be the same
// memory. The buffer also stands between the core's samples and Pd's, where these have double precision.
void play(Player &player, int start, int count) {
  for (size_t knob = 0; knob < player.knob_inlets.size(); knob++) {
    KnobInlet &inlet = player.knob_inlets[knob];
    const t_sample value = inlet.in[start];
    if (value == inlet.last) continue;
    inlet.last = value;
    inlet.moved = true;
    if (knob < player.knobs.size()) turn(player, knob, static_cast<float>(value));
  }
  float *sample = player.buffer.data();
  for (const Wire &wire : player.wires)
    for (int channel = 0; channel < wire.channels; channel++) {
      const t_sample *in = wire.in + channel * player.block + start;
      sample = std::copy(in, in + count, sample);
    }
  neurig_amp_process(player.amp.get(), player.buffer.data(), player.buffer.data(), count);
  std::fill(player.buffer.data() + player.place.channels * count, sample, 0);
  sample = player.buffer.data();
  for (const Wire &wire : player.wires)
    for (int channel = 0; channel < wire.channels; channel++, sample += count)
      std::copy(sample, sample + count, wire.out + channel * player.block + start);
}

t_int *perform(t_int *w) {
  Player &player = *reinterpret_cast<Player *>(w[1]);
  const double begin = seconds();
  for (int start = 0; start < player.block; start += kSlice)
    play(player, start, std::min(player.block - start, kSlice));
  player.meter.add(seconds() - begin, player.block / player.place.rate,
                   player.threaded ? neurig_amp_instance(player.amp.get()) : nullptr);
  return w + 2;
}

void dsp(NeuralAmp *x, t_signal **signals) {
  Player &player = *x->player;
  const size_t knobs = player.knob_inlets.size();
  int channels = 0;
  player.wires.clear();
  for (size_t inlet = 0; inlet < player.inlets; inlet++) {
    t_signal *&out = signals[player.inlets + knobs + inlet];
    const int its_channels = channels_of(signals[inlet]);
    if (set_multi_out) set_multi_out(&out, its_channels);
    player.wires.push_back({signals[inlet]->s_vec, out->s_vec, its_channels});
    channels += its_channels;
  }
  for (size_t knob = 0; knob < knobs; knob++) player.knob_inlets[knob].in = signals[player.inlets + knob]->s_vec;
  if (channels > kMaxChannels)
    pd_error(x, "neuralamp~: of %d channels, those after the first %d are silent", channels, kMaxChannels);
  prepare(x, std::min(channels, kMaxChannels), signals[0]->s_sr, signals[0]->s_n);
  player.buffer.resize(static_cast<size_t>(channels * kSlice));
  dsp_add(perform, 1, &player);
}

// ---- The object -----------------------------------------------------------------------------------------------------

void *create(t_symbol *, int argc, t_atom *argv) {
  auto *x = reinterpret_cast<NeuralAmp *>(pd_new(neural_amp_class));
  Player &player = *(x->player = new Player);
  x->number = 0;
  player.canvas = canvas_getcurrent();
  player.clock = clock_new(x, reinterpret_cast<t_method>(poll));
  int knobs = -1;  // as many as the model has
  read_flags(x, "neuralamp~", argc, argv, [&](const std::string &flag, t_float value) {
    const auto whole = [&](const char *name, int least, int most) {
      return flag == name && value >= least && value <= most && value == std::floor(value);
    };
    const bool inlets = whole("-ch", 1, kMaxChannels), quality = whole("-q", 0, 2);
    const bool knob_inlets = whole("-knobs", 0, kMaxKnobs), threaded = whole("-threaded", 0, kMaxThreaded);
    const bool xfade = flag == "-xfade" && std::isfinite(value);
    if (inlets) player.inlets = static_cast<size_t>(value);
    if (quality) player.place.quality = static_cast<int>(value);
    if (knob_inlets) knobs = static_cast<int>(value);
    if (threaded) player.threaded = static_cast<int>(value);
    if (xfade) player.settings[NEURIG_AMP_XFADE] = static_cast<float>(value);
    return inlets || quality || knob_inlets || threaded || xfade;
  });
  for (size_t inlet = 0; inlet < player.inlets; inlet++) {
    if (inlet) inlet_new(&x->object, &x->object.ob_pd, &s_signal, &s_signal);  // the first is there with the object
    outlet_new(&x->object, &s_signal);
  }
  player.information = outlet_new(&x->object, &s_anything);
  prepare(x, static_cast<int>(player.inlets), sys_getsr(), sys_getblksize());
  if (argc) {
    player.in_background = false;  // who opens a patch expects that it plays
    load(x, nullptr, argc, argv);
    set_background(player, true);
  }
  if (knobs < 0) knobs = std::min(static_cast<int>(player.knobs.size()), kMaxKnobs);
  for (size_t knob = 0; knob < static_cast<size_t>(knobs); knob++) {
    const t_float preset = knob < player.knobs.size() ? player.knobs[knob] : 0;
    signalinlet_new(&x->object, preset);
    player.knob_inlets.push_back({nullptr, static_cast<t_sample>(preset)});
  }
  return x;
}

void destroy(NeuralAmp *x) {
  clock_free(x->player->clock);
  delete x->player;
}

template <class Method> void on(const char *message, Method method, t_atomtype arguments) {
  class_addmethod(neural_amp_class, reinterpret_cast<t_method>(method), gensym(message), arguments, A_NULL);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void neuralamp_tilde_setup() {
  set_multi_out = reinterpret_cast<decltype(set_multi_out)>(dlsym(RTLD_DEFAULT, "signal_setmultiout"));
  neural_amp_class =
      class_new(gensym("neuralamp~"), new_method(create), reinterpret_cast<t_method>(destroy), sizeof(NeuralAmp),
                set_multi_out ? kMultichannelClass : CLASS_DEFAULT, A_GIMME, A_NULL);
  CLASS_MAINSIGNALIN(neural_amp_class, NeuralAmp, number);
  on("dsp", dsp, A_CANT);
  on("load", load, A_GIMME);
  on("unload", unload, A_NULL);
  on("reset", reset, A_NULL);
  on("prewarm", reset, A_NULL);  // instances come prewarmed, and a reset leads back there
  on("async", async, A_FLOAT);
  on("bypass", bypass, A_FLOAT);
  on("gain", gain, A_FLOAT);
  on("out", out, A_FLOAT);
  on("xfade", xfade, A_FLOAT);
  on("normalize", normalize, A_FLOAT);
  on("calibrate", calibrate, A_FLOAT);
  on("slim", slim, A_FLOAT);
  on("param", param, A_GIMME);
  on("print", print, A_NULL);
  class_addbang(neural_amp_class, reinterpret_cast<t_method>(inform));
}
