// [mdrnn file]: a predictor of gestures in a Pd patch.
//
//   flag       -seed n
//   messages   list (a frame of the player's), bang (predicts the next frame), load file, async 0|1, reset, seed n,
//              pitemp x, sigmatemp x, timescale x, info, print
//   outlets    predicted list x1 …; its dt in milliseconds, which comes first; information: loaded path | error path
//              reason; after loaded, and on info: arch name, dimension n, units n, layers n, mixtures n
//
// A frame is given as x1 … (the object takes the time since the last one) or whole, as dt x1 … with dt in seconds.
#include "loading.h"

#include <algorithm>

namespace {

using Predictor = std::unique_ptr<neurig_predictor, Free<neurig_predictor_free>>;

// What a load gives: a predictor, or the reason why not.
struct Loaded {
  std::string path, error;
  Model model;
  Predictor predictor;
};

struct Player {
  t_outlet *frame, *milliseconds, *information;
  t_canvas *canvas;
  t_clock *clock;
  bool in_background = true;
  uint64_t seed = 0;
  float pi_temp = 1, sigma_temp = 0.01f, timescale = 1;
  std::string path;  // of the model that plays
  Model model;
  Predictor predictor;
  bool heard = false;     // whether the player has given a frame
  double heard_at = 0;    // when the last one came, in Pd's time
  Background<Loaded> loading;
};

struct Mdrnn {
  t_object object;
  Player *player;
};

t_class *mdrnn_class;

// ---- Telling --------------------------------------------------------------------------------------------------------

void inform(Mdrnn *x) {
  const Player &player = *x->player;
  Messages messages;
  if (player.model) {
    const auto info = nlohmann::json::parse(neurig_model_info(player.model.get()));
    messages.add("loaded", {atom(player.path)});
    messages.add("arch", {atom(info.value("architecture", "unknown"))});
    for (const char *size : {"dimension", "units", "layers", "mixtures"})
      messages.add(size, {atom(info.value(size, 0.))});
  } else {
    messages.add("unloaded", {});
  }
  messages.send(player.information);
}

void print(Mdrnn *x) {
  const Player &player = *x->player;
  if (player.predictor)
    post("mdrnn: %s\n  dimension %d, mixtures %d, loaded %s", player.path.c_str(),
         neurig_predictor_dimension(player.predictor.get()), neurig_predictor_mixtures(player.predictor.get()),
         player.in_background ? "in the background" : "at once");
  else
    post("mdrnn: nothing is loaded");
  post("  pitemp %g, sigmatemp %g, timescale %g, seed %llu, neurig %s", player.pi_temp, player.sigma_temp,
       player.timescale, static_cast<unsigned long long>(player.seed), neurig_version());
}

// ---- Loading --------------------------------------------------------------------------------------------------------

// In any thread.
Loaded read(const std::string &path) {
  Loaded loaded;
  char reason[kErrorSize] = "";
  loaded.path = path;
  loaded.model.reset(neurig_model_load(path.c_str(), reason, sizeof reason));
  if (loaded.model && !neurig_model_is_predictor(loaded.model.get())) {
    loaded.error = "this is no predictor but an amp, which [neuralamp~] plays";
    return loaded;
  }
  if (loaded.model) loaded.predictor.reset(neurig_predictor_new(loaded.model.get(), 0, reason, sizeof reason));
  if (!loaded.predictor) loaded.error = reason;
  return loaded;
}

// Lets what was loaded play; where the load failed, all stays as it was.
void take(Mdrnn *x, Loaded loaded) {
  Player &player = *x->player;
  if (!loaded.error.empty()) return fail(x, "mdrnn", player.information, loaded.path, loaded.error);
  player.predictor = std::move(loaded.predictor);
  neurig_predictor_seed(player.predictor.get(), player.seed);
  player.model = std::move(loaded.model);
  player.path = std::move(loaded.path);
  player.heard = false;
  inform(x);
}

// The clock: fetches what was loaded.
void poll(Mdrnn *x) {
  Player &player = *x->player;
  Loaded loaded;
  const bool finished = player.loading.finished(loaded);
  if (player.loading.busy()) clock_delay(player.clock, kPollMs);
  if (finished) take(x, std::move(loaded));
}

void load(Mdrnn *x, t_symbol *, int argc, t_atom *argv) {
  Player &player = *x->player;
  const std::string name = text(argc, argv);
  if (name.empty()) return pd_error(x, "mdrnn: load: needs the name of a file");
  const std::string path = find_file(player.canvas, name, ".mdrnn");
  if (path.empty()) return fail(x, "mdrnn", player.information, name, kNotFound);
  const auto job = [path] { return read(path); };
  if (player.in_background) {
    player.loading.start(job);
    clock_delay(player.clock, kPollMs);
  } else {
    player.loading.forget();
    take(x, job());
  }
}

// ---- Playing --------------------------------------------------------------------------------------------------------

// A frame of the player's. Without dt, it is the time since the last one; the first has none before it, so dt is 0.
void list(Mdrnn *x, t_symbol *, int argc, t_atom *argv) {
  Player &player = *x->player;
  if (!player.predictor) return pd_error(x, "mdrnn: no model is loaded");
  const int dimension = neurig_predictor_dimension(player.predictor.get());
  if (argc != dimension && argc != dimension - 1)
    return pd_error(x, "mdrnn: a frame has %d numbers, or %d with dt in front; this list has %d", dimension - 1,
                    dimension, argc);
  std::vector<float> frame;
  if (argc < dimension)
    frame.push_back(player.heard ? static_cast<float>(clock_gettimesince(player.heard_at) / 1000) : 0);
  for (int i = 0; i < argc; i++) {
    if (argv[i].a_type != A_FLOAT || !std::isfinite(argv[i].a_w.w_float))
      return pd_error(x, "mdrnn: a frame is made of numbers; this list has %s", text(1, &argv[i]).c_str());
    frame.push_back(static_cast<float>(argv[i].a_w.w_float));
  }
  player.heard = true;
  player.heard_at = clock_getlogicaltime();
  neurig_predictor_condition(player.predictor.get(), frame.data());
}

void predict(Mdrnn *x) {
  const Player &player = *x->player;
  if (!player.predictor) return pd_error(x, "mdrnn: no model is loaded");
  std::vector<float> frame(static_cast<size_t>(neurig_predictor_dimension(player.predictor.get())));
  neurig_predictor_predict(player.predictor.get(), player.pi_temp, player.sigma_temp, frame.data());
  std::vector<t_atom> values;
  for (size_t i = 1; i < frame.size(); i++) values.push_back(atom(frame[i]));
  outlet_float(player.milliseconds, std::max(1.f, frame[0] * player.timescale * 1000));  // 0 would let a loop stall Pd
  outlet_list(player.frame, &s_list, static_cast<int>(values.size()), values.data());
}

void reset(Mdrnn *x) {
  x->player->heard = false;
  if (x->player->predictor) neurig_predictor_reset(x->player->predictor.get());
}

// ---- Settings -------------------------------------------------------------------------------------------------------

// Any t_float up to this one is a whole number that a seed can hold.
constexpr double kGreatestSeed = 9007199254740992;

bool from_zero(t_float value) { return value >= 0 && std::isfinite(value); }

bool is_seed(t_float value) { return value >= 0 && value <= kGreatestSeed && value == std::floor(value); }

void seed(Mdrnn *x, t_float value) {
  if (!is_seed(value)) return pd_error(x, "mdrnn: seed: needs a whole number from 0, not %g", value);
  x->player->seed = static_cast<uint64_t>(value);
  if (x->player->predictor) neurig_predictor_seed(x->player->predictor.get(), x->player->seed);
}

void pi_temp(Mdrnn *x, t_float value) {
  if (!(value > 0 && std::isfinite(value))) return pd_error(x, "mdrnn: pitemp: needs a number above 0, not %g", value);
  x->player->pi_temp = static_cast<float>(value);
}

void sigma_temp(Mdrnn *x, t_float value) {
  if (!from_zero(value)) return pd_error(x, "mdrnn: sigmatemp: needs a number from 0, not %g", value);
  x->player->sigma_temp = static_cast<float>(value);
}

void timescale(Mdrnn *x, t_float value) {
  if (!from_zero(value)) return pd_error(x, "mdrnn: timescale: needs a number from 0, not %g", value);
  x->player->timescale = static_cast<float>(value);
}

void async(Mdrnn *x, t_float on) { x->player->in_background = on != 0; }

// ---- The object -----------------------------------------------------------------------------------------------------

void *create(t_symbol *, int argc, t_atom *argv) {
  auto *x = reinterpret_cast<Mdrnn *>(pd_new(mdrnn_class));
  Player &player = *(x->player = new Player);
  player.canvas = canvas_getcurrent();
  player.clock = clock_new(x, reinterpret_cast<t_method>(poll));
  player.frame = outlet_new(&x->object, &s_list);
  player.milliseconds = outlet_new(&x->object, &s_float);
  player.information = outlet_new(&x->object, &s_anything);
  read_flags(x, "mdrnn", argc, argv, [&](const std::string &flag, t_float value) {
    if (flag != "-seed" || !is_seed(value)) return false;
    player.seed = static_cast<uint64_t>(value);
    return true;
  });
  if (argc) {
    player.in_background = false;  // who opens a patch expects that it plays
    load(x, nullptr, argc, argv);
    player.in_background = true;
  }
  return x;
}

void destroy(Mdrnn *x) {
  clock_free(x->player->clock);
  delete x->player;  // waits for a load under way
}

template <class Method> void on(const char *message, Method method, t_atomtype arguments) {
  class_addmethod(mdrnn_class, reinterpret_cast<t_method>(method), gensym(message), arguments, A_NULL);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void mdrnn_setup() {
  mdrnn_class = class_new(gensym("mdrnn"), new_method(create), reinterpret_cast<t_method>(destroy), sizeof(Mdrnn),
                          CLASS_DEFAULT, A_GIMME, A_NULL);
  class_addbang(mdrnn_class, reinterpret_cast<t_method>(predict));
  class_addlist(mdrnn_class, reinterpret_cast<t_method>(list));
  on("load", load, A_GIMME);
  on("async", async, A_FLOAT);
  on("reset", reset, A_NULL);
  on("seed", seed, A_FLOAT);
  on("pitemp", pi_temp, A_FLOAT);
  on("sigmatemp", sigma_temp, A_FLOAT);
  on("timescale", timescale, A_FLOAT);
  on("info", inform, A_NULL);
  on("print", print, A_NULL);
}
