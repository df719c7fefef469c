/* MDRNN: a player and a predictor of gestures as a SuperCollider unit generator, for scsynth and supernova.
 *
 *   MDRNN.kr(model, mode, threshold, timescale, pitemp, sigmatemp, mix, run, seed, reset, trig, x1 ...)
 *     -> trig, dt, x1 ...
 *
 * `model` is the number of a slot; the commands are mdrnn_read, mdrnn_free, mdrnn_query (see slots.h) and
 *
 *   /cmd mdrnn_record slot 0|1
 *
 * While it is on, each unit on the slot sends every frame of its player and of its network to the clients, as
 *
 *   /mdrnn node slot who seconds fraction x1 ...     who: 1 the player, 0 the network; the unit's time since it began
 *
 *   /cmd mdrnn_predict slot performance position count seed pitemp sigmatemp size inputs ... [buffer [message]]
 *
 * writes the next `count` frames that the network plays by itself into a buffer, without a unit and without a clock. A
 * performance is a client's number; `position` says how many of its frames there have been. `inputs`, `size` numbers,
 * are frames of a player's that the network hears before its first one.
 */
#include "slots.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace {

constexpr int kMaxDimension = 64;
constexpr int kPerformances = 64;   // that are kept
constexpr int kCatchUp = 20000;     // frames that are predicted again at most

bool recorded[kSlots];  // real-time thread only, never while audio is computed; units read it

struct MDRNN : public SlotUnit<MDRNN, neurig_session, neurig_predictor> {
  MDRNN();
  ~MDRNN() { leave(session, predictor); }
  void next(int n);
  void silence(int n) { ClearUnitOutputs(this, n); }

  enum { kModel, kMode, kThreshold, kTimescale, kPitemp, kSigmatemp, kMix, kRun, kSeed, kReset, kTrig, kIn };  // inputs
  enum { kTrigOut, kDt, kOut };                                                                              // outputs

  int values() const { return numInputs() - kIn; }
  bool is_rising(int input, float &before) {
    const float value = in0(input);
    const bool rising = value > 0 && before <= 0;
    before = value;
    return rising;
  }
  void configure();
  void listen();
  void tell(bool player, const double *frame);

  neurig_session *session;      // nullptr until it is made
  neurig_predictor *predictor;  // nullptr: the slot is empty
  int64_t blocks;               // since the unit began
  double now;                   // s, likewise
  float last[kSeed + 1];        // the settings, as they were set
  float last_trig, last_reset;
  bool complained;              // of the player's values, once

  /* For the slots */

  static constexpr const char *kName = "MDRNN", *kRead = "mdrnn_read", *kFree = "mdrnn_free", *kQuery = "mdrnn_query",
                              *kPredict = "mdrnn_predict";

  static bool predict2(World *, void *data);
  static void predict_command(World *, void *, sc_msg_iter *arguments, void *reply);

  static const char *refuse(const neurig_model *model) {
    return neurig_model_is_predictor(model) ? nullptr : "this model is an amp, not a predictor";
  }
  static neurig_session *make_player(World *) { return neurig_session_new(kMaxDimension, 0, nullptr, 0); }
  static void free_player(neurig_session *player) { neurig_session_free(player); }
  static neurig_predictor *make_voice(World *, neurig_model *model, char *reason, int size) {
    return neurig_predictor_new(model, 0, reason, size);
  }
  static void free_voice(neurig_predictor *voice) { neurig_predictor_free(voice); }

  /* Dimension, mixtures, nothing. */
  static void describe(neurig_model *, neurig_predictor *voice, float *about, std::string &) {
    about[0] = static_cast<float>(neurig_predictor_dimension(voice));
    about[1] = static_cast<float>(neurig_predictor_mixtures(voice));
    about[2] = 0;
  }

  static void changed(int, const float *) {}

  static neurig_predictor *join(World *, neurig_session *, neurig_predictor *voice) { return voice; }
  void attach(neurig_session *player, neurig_predictor *voice) {
    session = player;
    change(voice);
  }
  neurig_predictor *change(neurig_predictor *voice) {
    if (!session) return voice;
    neurig_predictor *const before = predictor;
    predictor = voice;
    neurig_network network{};
    if (voice) {
      network = neurig_predictor_network(voice);
      if (network.dimension - 1 != values()) {
        Print("MDRNN: the model in slot %d has %d values, this unit %d: silence\n", slot, network.dimension - 1,
              values());
        voice = nullptr;
      }
    }
    neurig_session_replace(session, voice ? &network : nullptr, now);
    return before;
  }
};

/* ---- Frames without a clock ---- */

/* What is asked for, as a command's cargo. */
struct Question {
  int performance, position, count, seed;
  float pitemp, sigmatemp;
  int size;         // of inputs
  float inputs[1];  // so many
};

/* A performance of which there may be more frames to come. */
struct Performance {
  struct Free {
    void operator()(neurig_predictor *predictor) const { neurig_predictor_free(predictor); }
    void operator()(neurig_model *model) const { neurig_model_release(model); }
  };
  int slot, number, position;
  std::unique_ptr<neurig_model, Free> model;  // retained, so that no other can come to lie in its place in memory
  std::unique_ptr<neurig_predictor, Free> predictor;
};
// Non-real-time thread only; the one that was asked for last is the last. Never destroyed: at exit that thread may run.
std::vector<Performance> &performances = *new std::vector<Performance>;

/* Begins a performance anew, and goes to where it is to go on. */
neurig_predictor *begin(neurig_model *model, const Question &asked, char *reason, int size) {
  neurig_predictor *made = neurig_predictor_new(model, static_cast<uint64_t>(asked.seed), reason, size);
  if (!made) return nullptr;
  const int dimension = neurig_predictor_dimension(made);
  float frame[kMaxDimension];
  for (int i = 0; i + dimension <= asked.size; i += dimension) neurig_predictor_condition(made, asked.inputs + i);
  for (int i = 0; i < std::min(asked.position, kCatchUp); i++)
    neurig_predictor_predict(made, asked.pitemp, asked.sigmatemp, frame);
  return made;
}

bool is_finite(float number) { return std::isfinite(number); }

/* Why a question cannot be answered, or nullptr. */
const char *why_not(const Question &asked, int dimension) {
  if (dimension > kMaxDimension) return "this model has more than 64 numbers in a frame";
  if (asked.position < 0 || asked.count < 1 || asked.seed < 0) return "position and seed are from 0, count from 1";
  if (!(asked.pitemp > 0) || !(asked.sigmatemp >= 0) || !is_finite(asked.pitemp) || !is_finite(asked.sigmatemp))
    return "pitemp is above 0, sigmatemp from 0";
  if (asked.size % dimension) return "an input frame is as long as the model's dimension: a time step, then the values";
  for (int i = 0; i < asked.size; i++)
    if (!(asked.inputs[i] >= 0) || !is_finite(asked.inputs[i]) || (i % dimension && asked.inputs[i] > 1))
      return "input frames have a time step from 0, and values from 0 to 1";
  return nullptr;
}

bool MDRNN::predict2(World *, void *data) {
  auto command = static_cast<Command *>(data);
  const auto &asked = *reinterpret_cast<const Question *>(command->cargo);
  Report &report = command->report;
  neurig_model *model = command->slot < 0 ? nullptr : slots[command->slot].model;
  if (!model) {
    if (command->slot < 0)
      report.fail("the number of a model is from 0 to %d", kSlots - 1);
    else
      report.fail("slot %d is empty: read a model first", command->slot);
    return true;
  }
  memcpy(report.head + Report::kAbout, slots[command->slot].about, sizeof slots[0].about);
  const int dimension = static_cast<int>(slots[command->slot].about[0]);
  if (const char *why = why_not(asked, dimension)) {
    report.fail("%s", why);
    return true;
  }
  Performance one{command->slot, asked.performance, asked.position, {}, nullptr};
  one.model.reset(neurig_model_retain(model));
  const auto is_over = [&](Performance &other) {  // this one, which comes back at the end, and those of models gone
    const bool same = other.slot == one.slot && other.number == one.number;
    if (same && other.model == one.model && other.position == one.position) one.predictor = std::move(other.predictor);
    return same || other.model.get() != slots[other.slot].model;
  };
  performances.erase(std::remove_if(performances.begin(), performances.end(), is_over), performances.end());
  if (!one.predictor) {
    char reason[300] = "";
    one.predictor.reset(begin(model, asked, reason, sizeof reason));
    if (!one.predictor) {
      report.fail("%s", reason);
      return true;
    }
  }
  const int count = std::min(asked.count, Report::kBody / dimension);
  for (int i = 0; i < count; i++)
    neurig_predictor_predict(one.predictor.get(), asked.pitemp, asked.sigmatemp, report.numbers + i * dimension);
  if (!std::all_of(report.numbers, report.numbers + count * dimension, is_finite)) {
    report.fail("the network gave a number that is not finite");
    return true;
  }
  report.head[Report::kOk] = report.head[Report::kLoaded] = 1;
  report.count = count * dimension;
  one.position += count;
  if (performances.size() >= kPerformances) performances.erase(performances.begin());
  performances.push_back(std::move(one));
  return true;
}

void MDRNN::predict_command(World *world, void *, sc_msg_iter *from, void *reply) {
  Arguments arguments(from);
  const int slot = arguments.slot();
  Question asked{};
  for (int *number : {&asked.performance, &asked.position, &asked.count, &asked.seed}) *number = arguments.whole(0);
  asked.pitemp = arguments.number(1);
  asked.sigmatemp = arguments.number(0.01f);
  asked.size = arguments.whole(0);
  if (asked.size < 0 || asked.size > arguments.left() / 4) asked.size = 0;
  Command *command = make_command(world, slot, 0, sizeof(Question) + asked.size * sizeof(float));
  if (command) {
    auto &kept = *reinterpret_cast<Question *>(command->cargo);
    kept = asked;
    for (int i = 0; i < asked.size; i++) kept.inputs[i] = arguments.number(0);
  }
  perform_request(world, command, arguments, predict2, query3, reply, kPredict);
}

MDRNN::MDRNN() {
  session = nullptr;
  predictor = nullptr;
  blocks = 0;
  now = 0;
  std::fill_n(last, kSeed + 1, NAN);  // nothing is set yet
  last_trig = last_reset = 0;
  complained = false;
  // A definition that was not made by the class may have anything.
  const bool whole = numInputs() > kIn && values() < kMaxDimension && numOutputs() == kOut + values();
  mCalcFunc = whole ? make_calc_function<SlotUnit, &SlotUnit::compute>() : make_calc_function<MDRNN, &MDRNN::silence>();
  silence(1);
  enlist(whole ? in0(kModel) : -1);
}

/* Takes over the settings that have changed; of those out of range, nothing changes. */
void MDRNN::configure() {
  constexpr struct {
    int input, setting;
  } settings[] = {{kThreshold, NEURIG_SESSION_THRESHOLD}, {kTimescale, NEURIG_SESSION_TIMESCALE},
                  {kPitemp, NEURIG_SESSION_PITEMP},       {kSigmatemp, NEURIG_SESSION_SIGMATEMP},
                  {kMix, NEURIG_SESSION_MIX}};
  const auto changed = [this](int input) {
    const float before = last[input];
    last[input] = in0(input);
    return in0(input) != before;
  };
  for (const auto &[input, setting] : settings)
    if (changed(input)) neurig_session_set(session, setting, in0(input));
  if (changed(kSeed) && in0(kSeed) >= 0 && in0(kSeed) < 1e18f)
    neurig_session_seed(session, static_cast<uint64_t>(in0(kSeed)));
  if (changed(kMode) && in0(kMode) >= 0 && in0(kMode) < NEURIG_MODES)
    neurig_session_set_mode(session, static_cast<int>(in0(kMode)), now);
  if (changed(kRun)) neurig_session_run(session, in0(kRun) > 0, now);
  if (is_rising(kReset, last_reset)) neurig_session_reset(session, now);
}

/* A frame of the player's. */
void MDRNN::listen() {
  double frame[kMaxDimension];
  char reason[100];
  for (int i = 0; i < values(); i++) frame[i] = in0(kIn + i);
  const int taken = neurig_session_input(session, frame, values(), now, frame, reason, sizeof reason);
  if (taken != -1) tell(true, frame);
  if (taken < 0 && predictor && !complained) Print("MDRNN: %s\n", reason);
  complained |= taken < 0;
}

void MDRNN::tell(bool player, const double *frame) {
  if (slot < 0 || !recorded[slot]) return;
  float sent[3 + kMaxDimension];
  sent[0] = player;
  sent[1] = static_cast<float>(std::floor(now));
  sent[2] = static_cast<float>(now - std::floor(now));
  const int count = neurig_session_dimension(session) - 1;
  for (int i = 0; i < count; i++) sent[3 + i] = static_cast<float>(frame[1 + i]);
  SendNodeReply(&mParent->mNode, slot, "/mdrnn", 3 + count, sent);
}

void MDRNN::next(int) {
  now = static_cast<double>(blocks++) * fullBufferSize() / fullSampleRate();
  out0(kTrigOut) = 0;
  if (!session) return;
  configure();
  if (is_rising(kTrig, last_trig)) listen();
  double time, frame[kMaxDimension];
  int due;
  while ((due = neurig_session_advance(session, now, &time, frame)) > 0) {  // of several in one block the last is heard
    tell(false, frame);
    out0(kTrigOut) = 1;
    out0(kDt) = static_cast<float>(frame[0] * neurig_session_get(session, NEURIG_SESSION_TIMESCALE));
    for (int i = 1; i < neurig_session_dimension(session); i++) out0(kOut + i - 1) = static_cast<float>(frame[i]);
  }
  if (due < 0) Print("MDRNN: the network in slot %d gave a number that is not finite, and is silent\n", slot);
}

void record_command(World *, void *, sc_msg_iter *from, void *) {
  Arguments arguments(from);
  const int slot = arguments.slot();
  if (slot < 0)
    Print("mdrnn_record: the number of a model is from 0 to %d\n", kSlots - 1);
  else
    recorded[slot] = arguments.whole(0) != 0;
}

}  // namespace

PluginLoad(MDRNN) {
  ft = inTable;
  registerUnit<MDRNN>(ft, "MDRNN");
  MDRNN::define_commands();
  DefinePlugInCmd("mdrnn_record", record_command, nullptr);
  DefinePlugInCmd(MDRNN::kPredict, MDRNN::predict_command, nullptr);
}
