// [neuralamp~ file]: a neural amp in the signal path of a Pd patch.
//
//   flags      -xfade ms, -q 0|1|2 (quality of sample-rate conversion)
//   messages   load file, unload, reset, async 0|1, bypass 0|1, gain dB, out dB, xfade ms, param name-or-index value,
//              bang (information), print
//   outlets    signal; information: loaded path | unloaded | error path reason; after loaded, and on bang: arch name,
//              samplerate model host, latency samples, loudness dB (where the file tells), params name value …
//
// Pd calls everything here in one thread, messages and signals alike, so nothing is locked. Files are read, and
// instances made, in a thread of their own (loading.h); a clock fetches what is ready and puts it into the amps.
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

// What a load gives: everything that the amps need, or the reason why not.
struct Loaded {
  std::string path, error;
  Model model;
  std::vector<Instance> instances;  // one per channel
  double rate = 0;
};

struct Player {
  t_outlet *information;
  t_canvas *canvas;
  t_clock *clock;
  int quality = 1;
  bool in_background = true;
  float settings[6] = {0, 0, 0, 20, NEURIG_LEVEL_RAW, 12};  // as in neurig.h: NEURIG_AMP_GAIN, OUT, BYPASS, XFADE, LEVEL, DBU
  float slim = 1;                     // of models that come in several sizes
  double rate = 0;                    // Hz; of the amps
  std::vector<Amp> amps;              // one per channel
  std::string path;                   // of the model that plays
  Model model;
  std::vector<float> knobs;   // the model's own
  int replaced = 0;           // instances that the amps still fade out
  std::vector<float> buffer;  // as long as Pd's blocks
  Background<Loaded> loading;
};

struct NeuralAmp {
  t_object object;
  t_float number;  // stands for the signal where none is connected
  Player *player;
};

t_class *neural_amp_class;

// ---- Models into amps -----------------------------------------------------------------------------------------------

std::vector<Instance> instances(neurig_model *model, size_t channels, double rate, int quality, std::string &error) {
  std::vector<Instance> made(channels);
  char reason[kErrorSize] = "";
  for (Instance &instance : made) {
    instance.reset(neurig_instance_new(model, rate, quality, reason, sizeof reason));
    if (instance) continue;
    error = reason;
    return {};
  }
  return made;
}

// In any thread.
Loaded read(const std::string &path, size_t channels, double rate, int quality) {
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
    loaded.instances = instances(loaded.model.get(), channels, rate, quality, loaded.error);
  return loaded;
}

// Puts fresh instances in the place of those that sound; none: puts nothing there.
void swap(Player &player, std::vector<Instance> fresh) {
  for (size_t channel = 0; channel < player.amps.size(); channel++) {
    neurig_amp *amp = player.amps[channel].get();
    if (neurig_amp_instance(amp)) player.replaced++;
    if (!fresh.empty()) neurig_instance_set_slim(fresh[channel].get(), player.slim);
    Instance old(neurig_amp_swap(amp, fresh.empty() ? nullptr : fresh[channel].release()));
    if (old) player.replaced--;
  }
}

// Turns one of the model's own knobs.
void turn(Player &player, size_t knob, float value) {
  for (const Amp &amp : player.amps) {
    neurig_instance *instance = neurig_amp_instance(amp.get());
    if (!instance) continue;
    neurig_instance_set_param(instance, static_cast<int>(knob), value);
    player.knobs[knob] = neurig_instance_param(instance, static_cast<int>(knob));  // within its range
  }
}

// Makes amps for so many channels at this rate, and brings the model that plays into them.
void prepare(NeuralAmp *x, size_t channels, double rate) {
  Player &player = *x->player;
  if (channels == player.amps.size() && rate == player.rate) return;
  player.amps.clear();
  player.replaced = 0;
  player.rate = rate;
  for (size_t channel = 0; channel < channels; channel++) {
    Amp amp(neurig_amp_new(rate));
    for (int setting = 0; setting < static_cast<int>(std::size(player.settings)); setting++) {
      neurig_amp_set(amp.get(), setting, player.settings[setting]);
      player.settings[setting] = neurig_amp_get(amp.get(), setting);  // within its range
    }
    player.amps.push_back(std::move(amp));
  }
  if (!player.model) return;
  std::string error;
  swap(player, instances(player.model.get(), channels, rate, player.quality, error));
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
    const neurig_instance *instance = neurig_amp_instance(player.amps[0].get());
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
    post("  model %g Hz, host %g Hz, channels %zu, loaded %s", neurig_model_rate(player.model.get()), player.rate,
         player.amps.size(), player.in_background ? "in the background" : "at once");
    for (size_t knob = 0; knob < player.knobs.size(); knob++)
      post("  param %s %g", neurig_model_param_name(player.model.get(), static_cast<int>(knob)), player.knobs[knob]);
  }
  const char *const levels[] = {"raw", "normalised", "calibrated"};
  post("  level %s (asked for: %s at %g dBu), slim %g of %d sizes", levels[neurig_amp_level(player.amps[0].get())],
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
  const size_t channels = player.amps.size();
  if (loaded.error.empty() && (loaded.rate != player.rate || loaded.instances.size() != channels))
    loaded.instances = instances(loaded.model.get(), channels, player.rate, player.quality, loaded.error);
  if (!loaded.error.empty()) return fail(x, "neuralamp~", player.information, loaded.path, loaded.error);
  player.knobs.clear();
  for (int knob = 0; knob < neurig_model_params(loaded.model.get()); knob++)
    player.knobs.push_back(neurig_instance_param(loaded.instances[0].get(), knob));
  swap(player, std::move(loaded.instances));
  player.model = std::move(loaded.model);
  player.path = std::move(loaded.path);
  clock_delay(player.clock, kPollMs);
  inform(x);
}

// The clock: frees what the amps have faded out, and fetches what was loaded.
void poll(NeuralAmp *x) {
  Player &player = *x->player;
  for (const Amp &amp : player.amps)
    if (Instance(neurig_amp_collect(amp.get()))) player.replaced--;
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
  const auto job = [path, channels = player.amps.size(), rate = player.rate, quality = player.quality] {
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
  swap(player, {});
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
  for (const Amp &amp : x->player->amps) {
    neurig_amp_set(amp.get(), setting, static_cast<float>(value));
    x->player->settings[setting] = neurig_amp_get(amp.get(), setting);
  }
}

void gain(NeuralAmp *x, t_float dB) { set(x, NEURIG_AMP_GAIN, dB); }
void out(NeuralAmp *x, t_float dB) { set(x, NEURIG_AMP_OUT, dB); }
// What a model's file does not state cannot be had: say so once it is asked for.
void level(NeuralAmp *x, int asked) {
  set(x, NEURIG_AMP_LEVEL, static_cast<t_float>(asked));
  const neurig_amp *amp = x->player->amps[0].get();
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
  for (const Amp &amp : x->player->amps)
    if (neurig_instance *instance = neurig_amp_instance(amp.get())) neurig_instance_set_slim(instance, x->player->slim);
}
void bypass(NeuralAmp *x, t_float on) { set(x, NEURIG_AMP_BYPASS, on != 0); }
void xfade(NeuralAmp *x, t_float ms) { set(x, NEURIG_AMP_XFADE, ms); }
void async(NeuralAmp *x, t_float on) { x->player->in_background = on != 0; }

void reset(NeuralAmp *x) {
  for (const Amp &amp : x->player->amps) neurig_amp_reset(amp.get());
}

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

// `buffer` stands between Pd's samples and the core's where Pd has double precision.
template <class Sample> void process(neurig_amp *amp, const Sample *in, Sample *out, int n, float *buffer) {
  if constexpr (std::is_same_v<Sample, float>) {
    neurig_amp_process(amp, in, out, n);
  } else {
    std::copy(in, in + n, buffer);
    neurig_amp_process(amp, buffer, buffer, n);
    std::copy(buffer, buffer + n, out);
  }
}

t_int *perform(t_int *w) {
  Player &player = *reinterpret_cast<Player *>(w[1]);
  const auto *in = reinterpret_cast<const t_sample *>(w[2]);
  auto *out = reinterpret_cast<t_sample *>(w[3]);
  const int n = static_cast<int>(w[4]);
  for (const Amp &amp : player.amps) {
    process(amp.get(), in, out, n, player.buffer.data());
    in += n, out += n;
  }
  return w + 5;
}

void dsp(NeuralAmp *x, t_signal **signals) {
  const int channels = channels_of(signals[0]);
  if (set_multi_out) set_multi_out(&signals[1], channels);
  prepare(x, static_cast<size_t>(channels), signals[0]->s_sr);
  x->player->buffer.resize(static_cast<size_t>(signals[0]->s_n));
  dsp_add(perform, 4, x->player, signals[0]->s_vec, signals[1]->s_vec, static_cast<t_int>(signals[0]->s_n));
}

// ---- The object -----------------------------------------------------------------------------------------------------

void *create(t_symbol *, int argc, t_atom *argv) {
  auto *x = reinterpret_cast<NeuralAmp *>(pd_new(neural_amp_class));
  Player &player = *(x->player = new Player);
  x->number = 0;
  player.canvas = canvas_getcurrent();
  player.clock = clock_new(x, reinterpret_cast<t_method>(poll));
  outlet_new(&x->object, &s_signal);
  player.information = outlet_new(&x->object, &s_anything);
  read_flags(x, "neuralamp~", argc, argv, [&](const std::string &flag, t_float value) {
    const bool xfade = flag == "-xfade" && std::isfinite(value);
    const bool quality = flag == "-q" && (value == 0 || value == 1 || value == 2);
    if (xfade) player.settings[NEURIG_AMP_XFADE] = static_cast<float>(value);
    if (quality) player.quality = static_cast<int>(value);
    return xfade || quality;
  });
  prepare(x, 1, sys_getsr());
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
