// [neuralamp~ file]: a neural amp in the signal path of a Pd patch.
//
//   flags      -ch n (signal inlets and outlets), -xfade ms, -q 0|1|2 (quality of sample-rate conversion)
//   messages   load file, unload, reset, async 0|1, bypass 0|1, gain dB, out dB, xfade ms, param name-or-index value,
//              bang (information), print
//   outlets    signals; information: loaded path | unloaded | error path reason; after loaded, and on bang: arch name,
//              samplerate model host, latency samples, loudness dB (where the file tells), params name value …
//
// Pd calls everything here in one thread, messages and signals alike, so nothing is locked. Files are read, and
// instances made, in a thread of their own (loading.h); a clock fetches what is ready and puts it into the amp.
#include "loading.h"

#include <dlfcn.h>
#include <strings.h>

#include <algorithm>
#include <vector>

namespace {

using Instance = std::unique_ptr<neurig_instance, Free<neurig_instance_free>>;
using Amp = std::unique_ptr<neurig_amp, Free<neurig_amp_free>>;

// Pd 0.54 and later have signals of several channels. One binary serves all versions: what is newer than 0.53 is looked
// up when the object is loaded, and the signal's channels are read where a newer Pd has put them.
constexpr int kMaxChannels = 64;  // neurig_amp_new_channels
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

// What a load gives: everything that the amp needs, or the reason why not.
struct Loaded {
  std::string path, error;
  Model model;
  Instance instance;
  double rate = 0;
};

// A signal inlet and its outlet.
struct Wire {
  t_sample *in, *out;
  size_t size;  // samples in a block, of all its channels
};

struct Player {
  t_outlet *information;
  t_canvas *canvas;
  t_clock *clock;
  int quality = 1;
  bool in_background = true;
  float settings[6] = {0, 0, 0, 20, NEURIG_LEVEL_RAW, 12};  // as in neurig.h: NEURIG_AMP_GAIN, OUT, BYPASS, XFADE, LEVEL, DBU
  float slim = 1;                     // of models that come in several sizes
  double rate = 0;                    // Hz; of the amp
  Amp amp;
  int channels = 0;                   // of the amp: those of all inlets together
  size_t inlets = 1;                  // for signals; there are as many outlets
  std::string path;                   // of the model that plays
  Model model;
  std::vector<float> knobs;   // the model's own
  int replaced = 0;           // instances that the amp still fades out
  std::vector<Wire> wires;    // one per inlet
  std::vector<float> buffer;  // a block of all channels: [channels][n]
  Background<Loaded> loading;
};

struct NeuralAmp {
  t_object object;
  t_float number;  // stands for the signal where none is connected
  Player *player;
};

t_class *neural_amp_class;

// ---- Models into the amp --------------------------------------------------------------------------------------------

Instance make(neurig_model *model, int channels, double rate, int quality, std::string &error) {
  char reason[kErrorSize] = "";
  Instance made(neurig_instance_new_channels(model, rate, quality, channels, 0, reason, sizeof reason));
  if (!made) error = reason;
  return made;
}

// In any thread.
Loaded read(const std::string &path, int channels, double rate, int quality) {
  Loaded loaded;
  char reason[kErrorSize] = "";
  loaded.path = path;
  loaded.rate = rate;
  loaded.model.reset(neurig_model_load(path.c_str(), reason, sizeof reason));
  if (!loaded.model)
    loaded.error = reason;
  else if (!neurig_model_is_amp(loaded.model.get()))
    loaded.error = "this is no amp but a predictor, which [mdrnn] plays";
  else
    loaded.instance = make(loaded.model.get(), channels, rate, quality, loaded.error);
  return loaded;
}

// Puts a fresh instance in the place of the one that sounds; none: puts nothing there.
void swap(Player &player, Instance fresh) {
  if (neurig_amp_instance(player.amp.get())) player.replaced++;
  if (fresh) neurig_instance_set_slim(fresh.get(), player.slim);
  Instance old(neurig_amp_swap(player.amp.get(), fresh.release()));
  if (old) player.replaced--;
}

// Turns one of the model's own knobs.
void turn(Player &player, size_t knob, float value) {
  neurig_instance *instance = neurig_amp_instance(player.amp.get());
  if (!instance) return;
  neurig_instance_set_param(instance, static_cast<int>(knob), value);
  player.knobs[knob] = neurig_instance_param(instance, static_cast<int>(knob));  // within its range
}

// Makes the amp for so many channels at this rate, and brings the model that plays into it.
void prepare(NeuralAmp *x, int channels, double rate) {
  Player &player = *x->player;
  if (channels == player.channels && rate == player.rate) return;
  player.replaced = 0;
  player.rate = rate;
  player.channels = channels;
  player.amp.reset(neurig_amp_new_channels(rate, channels));
  for (int setting = 0; setting < static_cast<int>(std::size(player.settings)); setting++) {
    neurig_amp_set(player.amp.get(), setting, player.settings[setting]);
    player.settings[setting] = neurig_amp_get(player.amp.get(), setting);  // within its range
  }
  if (!player.model) return;
  std::string error;
  swap(player, make(player.model.get(), channels, rate, player.quality, error));
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
    messages.add("samplerate", {atom(neurig_model_rate(player.model.get())), atom(player.rate)});
    messages.add("latency", {atom(instance ? neurig_instance_latency(instance) : 0)});
    if (loudness.is_number()) messages.add("loudness", {atom(loudness.get<double>())});
    std::vector<t_atom> params;
    for (size_t knob = 0; knob < player.knobs.size(); knob++) {
      params.push_back(atom(neurig_model_param_name(player.model.get(), static_cast<int>(knob))));
      params.push_back(atom(player.knobs[knob]));
    }
    messages.add("params", params);
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
    post("  model %g Hz, host %g Hz, channels %d, loaded %s", neurig_model_rate(player.model.get()), player.rate,
         player.channels, player.in_background ? "in the background" : "at once");
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
  const bool fits = loaded.instance && loaded.rate == player.rate &&
                    neurig_instance_channels(loaded.instance.get()) == player.channels;
  if (loaded.error.empty() && !fits)
    loaded.instance = make(loaded.model.get(), player.channels, player.rate, player.quality, loaded.error);
  if (!loaded.error.empty()) return fail(x, "neuralamp~", player.information, loaded.path, loaded.error);
  player.knobs.clear();
  for (int knob = 0; knob < neurig_model_params(loaded.model.get()); knob++)
    player.knobs.push_back(neurig_instance_param(loaded.instance.get(), knob));
  swap(player, std::move(loaded.instance));
  player.model = std::move(loaded.model);
  player.path = std::move(loaded.path);
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
  const auto job = [path, channels = player.channels, rate = player.rate, quality = player.quality] {
    return read(path, channels, rate, quality);
  };
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
    post("neuralamp~: the model's file does not state its %s: it plays %s", asked == NEURIG_LEVEL_NORMALISED ? "loudness" : "input level",
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
void async(NeuralAmp *x, t_float on) { x->player->in_background = on != 0; }

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

// All inlets are read before an outlet is written: they may be the same memory. The buffer also stands between the core's
// samples and Pd's, where these have double precision.
t_int *perform(t_int *w) {
  Player &player = *reinterpret_cast<Player *>(w[1]);
  const int n = static_cast<int>(w[2]);
  float *sample = player.buffer.data();
  for (const Wire &wire : player.wires) sample = std::copy(wire.in, wire.in + wire.size, sample);
  neurig_amp_process(player.amp.get(), player.buffer.data(), player.buffer.data(), n);
  std::fill(player.buffer.data() + player.channels * n, sample, 0);
  sample = player.buffer.data();
  for (const Wire &wire : player.wires) {
    std::copy(sample, sample + wire.size, wire.out);
    sample += wire.size;
  }
  return w + 3;
}

void dsp(NeuralAmp *x, t_signal **signals) {
  Player &player = *x->player;
  const int n = signals[0]->s_n;
  int channels = 0;
  player.wires.clear();
  for (size_t inlet = 0; inlet < player.inlets; inlet++) {
    t_signal *&out = signals[player.inlets + inlet];
    const int its_channels = channels_of(signals[inlet]);
    if (set_multi_out) set_multi_out(&out, its_channels);
    player.wires.push_back({signals[inlet]->s_vec, out->s_vec, static_cast<size_t>(its_channels * n)});
    channels += its_channels;
  }
  if (channels > kMaxChannels)
    pd_error(x, "neuralamp~: of %d channels, those after the first %d are silent", channels, kMaxChannels);
  prepare(x, std::min(channels, kMaxChannels), signals[0]->s_sr);
  player.buffer.resize(static_cast<size_t>(channels * n));
  dsp_add(perform, 2, &player, static_cast<t_int>(n));
}

// ---- The object -----------------------------------------------------------------------------------------------------

void *create(t_symbol *, int argc, t_atom *argv) {
  auto *x = reinterpret_cast<NeuralAmp *>(pd_new(neural_amp_class));
  Player &player = *(x->player = new Player);
  x->number = 0;
  player.canvas = canvas_getcurrent();
  player.clock = clock_new(x, reinterpret_cast<t_method>(poll));
  read_flags(x, "neuralamp~", argc, argv, [&](const std::string &flag, t_float value) {
    const bool xfade = flag == "-xfade" && std::isfinite(value);
    const bool quality = flag == "-q" && (value == 0 || value == 1 || value == 2);
    if (xfade) player.settings[NEURIG_AMP_XFADE] = static_cast<float>(value);
    const bool inlets = flag == "-ch" && value >= 1 && value <= kMaxChannels && value == std::floor(value);
    if (quality) player.quality = static_cast<int>(value);
    if (inlets) player.inlets = static_cast<size_t>(value);
    return xfade || quality || inlets;
  });
  for (size_t inlet = 0; inlet < player.inlets; inlet++) {
    if (inlet) inlet_new(&x->object, &x->object.ob_pd, &s_signal, &s_signal);  // the first is there with the object
    outlet_new(&x->object, &s_signal);
  }
  player.information = outlet_new(&x->object, &s_anything);
  prepare(x, static_cast<int>(player.inlets), sys_getsr());
  if (argc) {
    player.in_background = false;  // who opens a patch expects that it plays
    load(x, nullptr, argc, argv);
    player.in_background = true;
  }
  return x;
}

void destroy(NeuralAmp *x) {
  clock_free(x->player->clock);
  delete x->player;  // waits for a load under way
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
