// [mdrnn file]: a predictor of gestures in a Pd patch, with the session of player and network around it.
//
//   flags      -mode m, -seed n, -threshold s, -pitemp x, -sigmatemp x, -timescale x, -mix x
//   messages   list (a frame of the player's), load file, async 0|1, reset, seed n, run 0|1,
//              mode manual|callresponse|polyphony|battle|useronly|filter, threshold s, pitemp x, sigmatemp x,
//              timescale x, mix x, bang (manual: predicts the next frame), record file|folder|1|0, info, print
//   outlets    predicted list x1 …; its dt in milliseconds, which comes first; information: loaded path | error path
//              reason; after loaded, and on info: arch name, dimension n, units n, layers n, mixtures n, mode m,
//              run 0|1; recording path, recorded path
//
// In mode manual a bang asks for each frame; in the others the object plays by itself, each frame when it is due. A
// frame is given as x1 … (the object takes the time since the last one), in mode manual also whole: dt x1 …, dt in
// seconds.
#include "loading.h"
#include "recording.h"

#include <algorithm>

namespace {

using Predictor = std::unique_ptr<neurig_predictor, Free<neurig_predictor_free>>;
using Session = std::unique_ptr<neurig_session, Free<neurig_session_free>>;

constexpr int kMaxDimension = 64;
constexpr double kTolerance = 1e-3;  // of values beyond 0 and 1, as in a session
constexpr const char *kManual = "manual";

// What a load gives: a predictor, or the reason why not.
struct Loaded {
  std::string path, error;
  Model model;
  Predictor predictor;
};

struct Player {
  t_outlet *frame, *milliseconds, *information;
  t_canvas *canvas;
  t_clock *polling;  // fetches what threads have finished
  t_clock *playing;  // plays what is due
  double begin;      // in Pd's time; the session's seconds count from here
  double due = 0;    // of what `playing` waits for
  bool in_background = true;
  uint64_t seed = 0;
  bool manual = true, run = true;
  std::string path;  // of the model that plays
  Model model;
  Predictor predictor;
  Session session;
  double last = 0;     // manual: when the player's last frame came …
  bool heard = false;  // … if one did
  Background<Loaded> loading;
  std::unique_ptr<Recording> recording;
  std::vector<std::unique_ptr<Recording>> ending;
  bool told = false;  // that the recording has begun
  int lost = 0;       // events that the recording could not take
};

struct Mdrnn {
  t_object object;
  Player *player;
};

t_class *mdrnn_class;

double now(const Player &player) { return clock_gettimesince(player.begin) / 1000; }

const char *mode_of(const Player &player) {
  return player.manual ? kManual : neurig_mode_name(neurig_session_mode(player.session.get()));
}

struct Setting {
  const char *name, *range;
  int number;
};
constexpr Setting kSettings[] = {
    {"threshold", "a number from 0, in seconds", NEURIG_SESSION_THRESHOLD},
    {"timescale", "a number from 0", NEURIG_SESSION_TIMESCALE},
    {"pitemp", "a number above 0", NEURIG_SESSION_PITEMP},
    {"sigmatemp", "a number from 0", NEURIG_SESSION_SIGMATEMP},
    {"mix", "a number from 0 to 1", NEURIG_SESSION_MIX},
};

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
  messages.add("mode", {atom(std::string(mode_of(player)))});
  messages.add("run", {atom(double(player.run))});
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
  post("  mode %s, %s", mode_of(player), player.run ? "running" : "paused");
  for (const Setting &setting : kSettings)
    post("  %s %g", setting.name, neurig_session_get(player.session.get(), setting.number));
  if (player.recording) post("  recording %s", player.recording->path().c_str());
  post("  seed %llu, neurig %s", static_cast<unsigned long long>(player.seed), neurig_version());
}

// ---- Recording ------------------------------------------------------------------------------------------------------

void finish(Mdrnn *x) {
  Player &player = *x->player;
  if (!player.recording) return;
  if (player.lost) pd_error(x, "mdrnn: record: the disk did not keep up: %d events are missing", player.lost);
  player.recording->end();
  player.ending.push_back(std::move(player.recording));
  clock_delay(player.polling, 0);
}

// Tells of recordings that have begun, failed or ended; true while there is something to wait for.
bool watch(Mdrnn *x) {
  Player &player = *x->player;
  Messages messages;
  if (player.recording && player.recording->started() && !player.told) {
    const std::string problem = player.recording->problem();
    if (!problem.empty()) {
      const auto failed = std::move(player.recording);
      failed->end();
      fail(x, "mdrnn", player.information, failed->path(), "cannot be recorded: " + problem);
      return watch(x);
    }
    if (player.recording->opened()) {
      player.told = true;
      messages.add("recording", {atom(player.recording->path())});
    }
  }
  for (auto at = player.ending.begin(); at != player.ending.end();) {
    if (!player.in_background) (*at)->wait();
    if (!(*at)->done()) {
      ++at;
      continue;
    }
    if ((*at)->opened()) messages.add("recorded", {atom((*at)->path())});
    at = player.ending.erase(at);
  }
  const bool waiting = !player.ending.empty() || (player.recording && player.recording->started() && !player.told);
  messages.send(player.information);
  return waiting;
}

// The dimension is known: the file can be opened.
void begin_recording(Mdrnn *x, int dimension) {
  Player &player = *x->player;
  player.recording->start(dimension);
  if (player.in_background) {
    clock_delay(player.polling, kPollMs);
  } else {
    player.recording->wait_for_opening();
    watch(x);
  }
}

void record(Mdrnn *x, t_symbol *, int argc, t_atom *argv) {
  Player &player = *x->player;
  std::string path = text(argc, argv);
  if (path.empty())
    return pd_error(x, "mdrnn: record: needs a file or a folder, 1 for the patch's folder, or 0 to end");
  finish(x);
  if (path == "0") return;
  const char *home = getenv("HOME");
  if (path == "1") {
    path = canvas_getdir(player.canvas)->s_name;
  } else if (path.rfind("~/", 0) == 0 && home) {
    path = home + path.substr(1);
  } else {
    char whole[MAXPDSTRING];
    canvas_makefilename(player.canvas, path.c_str(), whole, sizeof whole);
    path = whole;
  }
  player.recording = std::make_unique<Recording>(path, now(player));
  player.told = false;
  player.lost = 0;
  if (const int dimension = neurig_session_dimension(player.session.get())) begin_recording(x, dimension);
}

void log(Mdrnn *x, bool is_player, const double *values, int count) {
  Player &player = *x->player;
  if (!player.recording || !player.recording->started()) return;
  if (player.told && !player.recording->problem().empty()) {
    pd_error(x, "mdrnn: record: %s: %s", player.recording->path().c_str(), player.recording->problem().c_str());
    finish(x);
  } else if (!player.recording->add(is_player, now(player), values, count)) {
    player.lost++;
  }
}

// ---- Playing --------------------------------------------------------------------------------------------------------

// A frame is heard. Nothing of the object is touched after the outlets: what they set off may change it.
void play(Mdrnn *x, const double *frame) {
  const Player &player = *x->player;
  const int count = neurig_session_dimension(player.session.get()) - 1;
  t_outlet *const values = player.frame;
  t_atom atoms[kMaxDimension];
  for (int i = 0; i < count; i++) atoms[i] = atom(frame[i + 1]);
  const double ms = frame[0] * neurig_session_get(player.session.get(), NEURIG_SESSION_TIMESCALE) * 1000;
  log(x, false, frame + 1, count);
  outlet_float(player.milliseconds, static_cast<t_float>(std::max(1., ms)));  // 0 would let a loop stall Pd
  outlet_list(values, &s_list, count, atoms);
}

void schedule(Player &player) {
  player.due = neurig_session_due(player.session.get());
  if (std::isinf(player.due))
    clock_unset(player.playing);
  else
    clock_delay(player.playing, std::max(0., (player.due - now(player)) * 1000));
}

// Plays the frame that is due by `until`, if there is one.
void advance(Mdrnn *x, double until) {
  Player &player = *x->player;
  double time, frame[kMaxDimension];
  const int due = neurig_session_advance(player.session.get(), until, &time, frame);
  schedule(player);  // the next may be due at once: then the clock comes back within the same moment
  if (due > 0) play(x, frame);
  if (due < 0 && player.predictor) pd_error(x, "mdrnn: the network gave a number that is not finite, and is silent");
}

// The clock: in Pd's rounding it may come a hair before its time.
void come_due(Mdrnn *x) { advance(x, std::max(now(*x->player), x->player->due)); }

// The values of a list, or false: one of them is no number.
bool numbers(Mdrnn *x, int argc, const t_atom *argv, double *values) {
  for (int i = 0; i < argc; i++) {
    if (argv[i].a_type != A_FLOAT || !std::isfinite(argv[i].a_w.w_float))
      return pd_error(x, "mdrnn: a frame is made of numbers; this list has %s", text(1, &argv[i]).c_str()), false;
    values[i] = argv[i].a_w.w_float;
  }
  return true;
}

// Mode manual: without dt, it is the time since the last one; the first has none before it, so dt is 0.
void condition(Mdrnn *x, int argc, const t_atom *argv) {
  Player &player = *x->player;
  const int dimension = neurig_predictor_dimension(player.predictor.get());
  if (argc != dimension && argc != dimension - 1)
    return pd_error(x, "mdrnn: a frame has %d numbers, or %d with dt in front; this list has %d", dimension - 1,
                    dimension, argc);
  double values[kMaxDimension];
  float frame[kMaxDimension];
  if (!numbers(x, argc, argv, values)) return;
  const double *const own = argc == dimension ? values + 1 : values;
  if (own != values && values[0] < 0) return pd_error(x, "mdrnn: dt is %g, but time goes on", values[0]);
  for (int i = 0; i < dimension - 1; i++) {
    if (own[i] < -kTolerance || own[i] > 1 + kTolerance)
      return pd_error(x, "mdrnn: x%d is %g, but values go from 0 to 1", i + 1, own[i]);
    frame[i + 1] = static_cast<float>(std::clamp(own[i], 0., 1.));
  }
  frame[0] = static_cast<float>(argc == dimension ? values[0] : player.heard ? now(player) - player.last : 0);
  player.heard = true;
  player.last = now(player);
  neurig_predictor_condition(player.predictor.get(), frame);
  log(x, true, own, dimension - 1);
}

// What a session has for a network while there is none: it listens, so that a player can be recorded without a model.
neurig_network listener(int dimension) {
  return {dimension, nullptr, [](void *, const double *) { return 0; },
          [](void *, double, double, double *) { return -1; }, [](void *) {}, [](void *, uint64_t) {}};
}

void list(Mdrnn *x, t_symbol *, int argc, t_atom *argv) {
  Player &player = *x->player;
  neurig_session *const session = player.session.get();
  if (!player.predictor && !player.recording) return pd_error(x, "mdrnn: no model is loaded");
  if (player.predictor && player.manual) return condition(x, argc, argv);
  double values[kMaxDimension];
  char reason[kErrorSize];
  if (argc > kMaxDimension - 1) return pd_error(x, "mdrnn: a frame has at most %d values", kMaxDimension - 1);
  if (!numbers(x, argc, argv, values)) return;
  if (!neurig_session_dimension(session) && argc) {
    const neurig_network network = listener(argc + 1);
    neurig_session_replace(session, &network, now(player));
  }
  const int taken = neurig_session_input(session, values, argc, now(player), nullptr, reason, sizeof reason);
  if (taken == -1 || (taken < 0 && player.predictor)) pd_error(x, "mdrnn: %s", reason);
  if (taken == -1) return;
  if (player.recording && !player.recording->started()) begin_recording(x, argc + 1);
  log(x, true, values, argc);
  if (neurig_session_due(session) <= now(player))
    advance(x, now(player));  // what is wanted at once comes before the list's sender goes on
  else
    schedule(player);
}

void predict(Mdrnn *x) {
  const Player &player = *x->player;
  if (!player.predictor) return pd_error(x, "mdrnn: no model is loaded");
  if (!player.manual)
    return pd_error(x, "mdrnn: bang: in mode %s frames come by themselves, in mode manual on a bang", mode_of(player));
  const auto setting = [&player](int number) {
    return static_cast<float>(neurig_session_get(player.session.get(), number));
  };
  float predicted[kMaxDimension];
  double frame[kMaxDimension];
  neurig_predictor_predict(player.predictor.get(), setting(NEURIG_SESSION_PITEMP), setting(NEURIG_SESSION_SIGMATEMP),
                           predicted);
  std::copy_n(predicted, neurig_session_dimension(player.session.get()), frame);
  play(x, frame);
}

void reset(Mdrnn *x) {
  Player &player = *x->player;
  player.heard = false;
  neurig_session_reset(player.session.get(), now(player));
  schedule(player);
}

// The session plays unless it is paused, or bangs do.
void set_running(Player &player) {
  neurig_session_run(player.session.get(), player.run && !player.manual, now(player));
  schedule(player);
}

bool choose_mode(Player &player, const char *name) {
  const int mode = neurig_mode(name);
  const bool manual = !std::strcmp(name, kManual);
  if (!manual && mode < 0) return false;
  player.manual = manual;
  player.heard = false;
  if (!manual) neurig_session_set_mode(player.session.get(), mode, now(player));
  set_running(player);
  return true;
}

void set_mode(Mdrnn *x, const std::string &name) {
  if (choose_mode(*x->player, name.c_str())) return;
  std::string modes = kManual;
  for (int i = 0; i < NEURIG_MODES; i++) modes += std::string(", ") + neurig_mode_name(i);
  pd_error(x, "mdrnn: mode: there is no mode %s, but %s", name.empty() ? "without a name" : name.c_str(),
           modes.c_str());
}

void mode(Mdrnn *x, t_symbol *, int argc, t_atom *argv) { set_mode(x, text(argc, argv)); }

void run(Mdrnn *x, t_float on) {
  x->player->run = on != 0;
  set_running(*x->player);
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
  const neurig_network network = neurig_predictor_network(loaded.predictor.get());
  const bool fits = network.dimension == neurig_session_dimension(player.session.get());
  if (player.recording && player.recording->started() && !fits) {
    pd_error(x, "mdrnn: record: ends here, since the new model's frames have another length");
    finish(x);
  }
  neurig_session_replace(player.session.get(), &network, now(player));
  player.predictor = std::move(loaded.predictor);
  player.model = std::move(loaded.model);
  player.path = std::move(loaded.path);
  player.heard = false;
  if (player.recording && !player.recording->started()) begin_recording(x, network.dimension);
  schedule(player);
  inform(x);
}

// The clock: fetches what was loaded, and what became of recordings.
void poll(Mdrnn *x) {
  Player &player = *x->player;
  Loaded loaded;
  const bool finished = player.loading.finished(loaded);
  const bool waiting = watch(x);
  if (player.loading.busy() || waiting) clock_delay(player.polling, kPollMs);
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
    clock_delay(player.polling, kPollMs);
  } else {
    player.loading.forget();
    take(x, job());
  }
}

// ---- Settings -------------------------------------------------------------------------------------------------------

// Any t_float up to this one is a whole number that a seed can hold.
constexpr double kGreatestSeed = 9007199254740992;

bool choose_seed(Player &player, t_float value) {
  if (!(value >= 0 && value <= kGreatestSeed && value == std::floor(value))) return false;
  player.seed = static_cast<uint64_t>(value);
  neurig_session_seed(player.session.get(), player.seed);
  return true;
}

void seed(Mdrnn *x, t_float value) {
  if (!choose_seed(*x->player, value)) pd_error(x, "mdrnn: seed: needs a whole number from 0, not %g", value);
}

template <int index> void set(Mdrnn *x, t_float value) {
  Player &player = *x->player;
  if (neurig_session_set(player.session.get(), kSettings[index].number, value) < 0)
    return pd_error(x, "mdrnn: %s: needs %s, not %g", kSettings[index].name, kSettings[index].range, value);
  schedule(player);  // the threshold says when
}

void async(Mdrnn *x, t_float on) { x->player->in_background = on != 0; }

// ---- The object -----------------------------------------------------------------------------------------------------

bool read_flag(Player &player, const std::string &flag, t_float value) {
  if (flag == "-seed") return choose_seed(player, value);
  for (const Setting &setting : kSettings)
    if (flag.substr(1) == setting.name) return neurig_session_set(player.session.get(), setting.number, value) == 0;
  return false;
}

void *create(t_symbol *, int argc, t_atom *argv) {
  Session session(neurig_session_new(kMaxDimension, 0, nullptr, 0));
  if (!session) return nullptr;
  auto *x = reinterpret_cast<Mdrnn *>(pd_new(mdrnn_class));
  Player &player = *(x->player = new Player);
  player.session = std::move(session);
  player.begin = clock_getlogicaltime();
  player.canvas = canvas_getcurrent();
  player.polling = clock_new(x, reinterpret_cast<t_method>(poll));
  player.playing = clock_new(x, reinterpret_cast<t_method>(come_due));
  player.frame = outlet_new(&x->object, &s_list);
  player.milliseconds = outlet_new(&x->object, &s_float);
  player.information = outlet_new(&x->object, &s_anything);
  choose_seed(player, 0);
  choose_mode(player, kManual);
  read_flags(
      x, "mdrnn", argc, argv, [&](const std::string &flag, t_float value) { return read_flag(player, flag, value); },
      [&](const std::string &flag, const char *word) { return flag == "-mode" && (set_mode(x, word), true); });
  if (argc) {
    player.in_background = false;  // who opens a patch expects that it plays
    load(x, nullptr, argc, argv);
    player.in_background = true;
  }
  return x;
}

void destroy(Mdrnn *x) {
  clock_free(x->player->polling);
  clock_free(x->player->playing);
  delete x->player;  // waits for what is still to be written
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
  on("mode", mode, A_GIMME);
  on("run", run, A_FLOAT);
  on("reset", reset, A_NULL);
  on("seed", seed, A_FLOAT);
  on("threshold", set<0>, A_FLOAT);
  on("timescale", set<1>, A_FLOAT);
  on("pitemp", set<2>, A_FLOAT);
  on("sigmatemp", set<3>, A_FLOAT);
  on("mix", set<4>, A_FLOAT);
  on("record", record, A_GIMME);
  on("info", inform, A_NULL);
  on("print", print, A_NULL);
}
