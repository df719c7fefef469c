/* NeuralAmp: a neural amp as a SuperCollider unit generator, for scsynth and supernova.
 *
 *   NeuralAmp.ar(in, model, gain, out, bypass, params ...)
 *
 *   /cmd neuralamp_read  slot path [buffer [message]]   reads a model into a slot, in place of the one that was there
 *   /cmd neuralamp_free  slot                           empties a slot
 *   /cmd neuralamp_query slot buffer [message]          tells what is in a slot
 *
 * Models are in numbered slots, as sounds are in buffers. A slot keeps the model; every unit plays it through an amp of
 * its own. When a slot changes, all units on it crossfade. What there is to tell goes into a buffer (see Report): that
 * is how a plugin can reach a client on another machine. `message` is performed when it is there, so that a
 * [/b_getn, buffer, 0, 512] brings it to the client. /done follows what succeeded.
 *
 * Everything that takes time is an asynchronous command of the server's, in stages:
 *   2  non-real-time thread   reads, makes, frees; alone touches the slots
 *   3  real-time thread       swaps pointers; touches the units and the buffers, never while audio is computed
 *   4  non-real-time thread   frees what stage 3 gave back
 * What a crossfade leaves goes to the Reaper. supernova computes units in parallel: next() touches nothing but its own
 * unit. On both servers constructors run one at a time, and neither they nor destructors run together with a stage 3.
 */
#include "SC_PlugIn.hpp"

#include <semaphore.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "../core/neurig.h"

static InterfaceTable *ft;

namespace {

constexpr int kSlots = 1024;
constexpr int kQuality = 1;   // of the sample-rate conversion
constexpr float kXfade = 20;  // ms

struct Slot {
  neurig_model *model = nullptr;
  std::string path;
  int latency = 0;  // samples, at the server's rate
};
Slot slots[kSlots];  // non-real-time thread only

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
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
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

struct NeuralAmp : public SCUnit {
  NeuralAmp();
  ~NeuralAmp();
  void next(int n);
  void silence(int n) { ClearUnitOutputs(this, n); }
  void set(int param, float value) {
    if (value == last[param]) return;
    last[param] = value;
    neurig_amp_set(amp, param, value);
  }

  static constexpr int kIn = 0, kModel = 1, kGain = 2, kOut = 3, kBypass = 4, kParams = 5;  // inputs

  neurig_amp *amp;           // nullptr until it is made
  neurig_instance *gone;     // replaced, and not heard any more
  float last[3];             // gain, out, bypass
  int slot;                  // -1: none
  int64_t id;                // of all units ever, in order
  NeuralAmp *newer, *older;  // in the list of units
};
NeuralAmp *newest = nullptr;  // real-time thread only
int64_t ids = 0;              // likewise

/* What is written into a client's buffer. The text is a failure's reason, or else the model's path and the names of its
 * params, a line each. */
struct Report {
  enum { kOk, kLoaded, kRate, kLatency, kParams, kUsers, kLength, kHead = 8 };
  float head[kHead];
  char text[504];

  void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    head[kOk] = 0;
  }

  void describe(const Slot &slot) {
    head[kLoaded] = slot.model != nullptr;
    if (!slot.model) return;
    head[kRate] = static_cast<float>(neurig_model_rate(slot.model));
    head[kLatency] = static_cast<float>(slot.latency);
    head[kParams] = static_cast<float>(neurig_model_params(slot.model));
    if (!head[kOk]) return;
    std::string lines = slot.path;
    for (int i = 0; i < neurig_model_params(slot.model); i++)
      lines.append("\n").append(neurig_model_param_name(slot.model, i));
    snprintf(text, sizeof text, "%s", lines.c_str());
  }

  void write(World *world, int buffer, int users) {
    if (buffer < 0 || buffer >= static_cast<int>(world->mNumSndBufs)) return;
    SndBuf *target = World_GetBuf(world, buffer);
    if (!target->data) return;
    int length = static_cast<int>(strlen(text));
    head[kUsers] = static_cast<float>(users);
    head[kLength] = static_cast<float>(length);
    for (int i = 0; i < kHead && i < target->samples; i++) target->data[i] = head[i];
    for (int i = 0; i < length && kHead + i < target->samples; i++)
      target->data[kHead + i] = static_cast<unsigned char>(text[i]);
  }
};

/* What a command holds for one unit: before stage 3 what was made for it, after it what is to be freed. */
struct Seat {
  int64_t unit;
  neurig_amp *amp;
  neurig_instance *instance;
};

/* An asynchronous command on its way through the stages: one piece of real-time memory, with its seats and its path. */
struct Command {
  int slot, buffer, seats;
  Report report;
  Seat *seat;
  char *path;
};

Command *make_command(World *world, int slot, int seats, const char *path = "") {
  size_t length = strlen(path) + 1, size = sizeof(Command) + seats * sizeof(Seat) + length;
  char *memory = static_cast<char *>(RTAlloc(world, size));
  if (!memory) return nullptr;
  memset(memory, 0, size);
  auto command = reinterpret_cast<Command *>(memory);
  command->slot = slot;
  command->buffer = -1;
  command->seats = seats;
  command->seat = reinterpret_cast<Seat *>(memory + sizeof(Command));
  command->path = memory + sizeof(Command) + seats * sizeof(Seat);
  memcpy(command->path, path, length);
  return command;
}

/* A command with a seat for every unit on a slot. */
Command *make_command_for_units(World *world, int slot, const char *path = "") {
  int count = 0;
  for (NeuralAmp *unit = newest; unit; unit = unit->older) count += unit->slot == slot;
  Command *command = make_command(world, slot, count, path);
  if (!command) return nullptr;
  Seat *seat = command->seat;
  for (NeuralAmp *unit = newest; unit; unit = unit->older)
    if (unit->slot == slot) (seat++)->unit = unit->id;
  return command;
}

/* Calls `act(unit, seat)` for every seat whose unit still lives. Both are in the order of falling ids. */
template <class Act>
void for_each_unit(Command *command, Act act) {
  NeuralAmp *unit = newest;
  for (Seat *seat = command->seat; seat != command->seat + command->seats; seat++) {
    while (unit && unit->id > seat->unit) unit = unit->older;
    if (unit && unit->id == seat->unit) act(unit, seat);
  }
}

void cleanup(World *world, void *data) { RTFree(world, data); }

bool free_seats(World *, void *data) {  // stage 2 or 4
  auto command = static_cast<Command *>(data);
  for (int i = 0; i < command->seats; i++) {
    if (command->seat[i].instance) neurig_instance_free(command->seat[i].instance);
    if (command->seat[i].amp) neurig_amp_free(command->seat[i].amp);
  }
  return command->report.head[Report::kOk] != 0;
}

void perform(World *world, Command *command, AsyncStageFn stage2, AsyncStageFn stage3, AsyncStageFn stage4,
             void *reply = nullptr, const char *name = nullptr, int message_size = 0, void *message = nullptr) {
  if (DoAsynchronousCommand(world, reply, name, command, stage2, stage3, stage4, cleanup, message_size, message) != 0)
    RTFree(world, command);
}

/* ---- Units ---- */

bool attach2(World *world, void *data) {
  auto command = static_cast<Command *>(data);
  Seat &seat = command->seat[0];
  seat.amp = neurig_amp_new(world->mSampleRate);
  if (!seat.amp) return false;
  reaper.start();
  neurig_amp_set(seat.amp, NEURIG_AMP_XFADE, kXfade);
  if (world->mRealTime) {  // its unit has been running for some blocks: an amp that has begun fades in
    float silence = 0;
    neurig_amp_process(seat.amp, &silence, &silence, 1);
  }
  if (command->slot < 0) {
    Print("NeuralAmp: the number of a model is from 0 to %d\n", kSlots - 1);
  } else if (!slots[command->slot].model) {
    Print("NeuralAmp: slot %d is empty: silence until a model is read into it\n", command->slot);
  } else {
    char reason[256] = "";
    neurig_model *model = slots[command->slot].model;
    neurig_instance *instance = neurig_instance_new(model, world->mSampleRate, kQuality, reason, sizeof reason);
    if (!instance) Print("NeuralAmp: slot %d: %s\n", command->slot, reason);
    neurig_amp_swap(seat.amp, instance);
  }
  return true;
}

bool attach3(World *, void *data) {
  for_each_unit(static_cast<Command *>(data), [](NeuralAmp *unit, Seat *seat) {
    unit->amp = seat->amp;
    seat->amp = nullptr;
  });
  return true;
}

NeuralAmp::NeuralAmp() {
  float number = in0(kModel);
  slot = number >= 0 && number < kSlots ? static_cast<int>(number) : -1;
  amp = nullptr;
  gone = nullptr;
  last[0] = last[1] = last[2] = 0;  // an amp's defaults
  id = ++ids;
  newer = nullptr;
  older = newest;
  if (newest) newest->newer = this;
  newest = this;
  // The amp may be there before this constructor returns (non-real-time synthesis), and must not hear a sample yet.
  mCalcFunc = isAudioRateIn(kIn) ? make_calc_function<NeuralAmp, &NeuralAmp::next>()
                                 : make_calc_function<NeuralAmp, &NeuralAmp::silence>();
  silence(1);
  if (Command *command = make_command(mWorld, slot, 1)) {
    command->seat[0].unit = id;
    perform(mWorld, command, attach2, attach3, free_seats);
  }
}

NeuralAmp::~NeuralAmp() {
  (newer ? newer->older : newest) = older;
  if (older) older->newer = newer;
  if (!amp) return;
  if (Command *command = make_command(mWorld, slot, 1)) {
    command->seat[0].amp = amp;
    command->seat[0].instance = gone;
    perform(mWorld, command, free_seats, nullptr, nullptr);
  }
}

void NeuralAmp::next(int n) {
  if (!amp) return silence(n);
  set(NEURIG_AMP_GAIN, in0(kGain));
  set(NEURIG_AMP_OUT, in0(kOut));
  set(NEURIG_AMP_BYPASS, in0(kBypass));
  if (neurig_instance *instance = neurig_amp_instance(amp))
    for (int i = kParams; i < numInputs(); i++) neurig_instance_set_param(instance, i - kParams, in0(i));
  neurig_amp_process(amp, in(kIn), out(0), n);
  if (!gone) gone = neurig_amp_collect(amp);
  if (gone && reaper.take(gone)) gone = nullptr;
}

int count_users(int slot) {
  int users = 0;
  for (NeuralAmp *unit = newest; unit; unit = unit->older) users += unit->slot == slot;
  return users;
}

/* ---- Commands ---- */

bool read2(World *world, void *data) {
  auto command = static_cast<Command *>(data);
  Report &report = command->report;
  neurig_model *model = nullptr;
  neurig_instance *trial = nullptr;
  char reason[400] = "";
  if (command->slot < 0)
    report.fail("the number of a model is from 0 to %d", kSlots - 1);
  else if (!*command->path)
    report.fail("no path given");
  else if (!(model = neurig_model_load(command->path, reason, sizeof reason)))
    report.fail("%s", reason);
  else if (!neurig_model_is_amp(model))
    report.fail("this model is a predictor, not an amp");
  else if (!(trial = neurig_instance_new(model, world->mSampleRate, kQuality, reason, sizeof reason)))
    report.fail("%s", reason);
  else
    report.head[Report::kOk] = 1;

  if (report.head[Report::kOk]) {
    Slot &slot = slots[command->slot];
    if (slot.model) neurig_model_release(slot.model);
    slot = {model, command->path, neurig_instance_latency(trial)};
    for (int i = 0; i < command->seats; i++)
      command->seat[i].instance = neurig_instance_new(model, world->mSampleRate, kQuality, nullptr, 0);
  } else {
    if (model) neurig_model_release(model);
    if (command->buffer < 0) Print("neuralamp_read: %s: %s\n", command->path, report.text);
  }
  if (trial) neurig_instance_free(trial);
  if (command->slot >= 0) report.describe(slots[command->slot]);
  return true;
}

bool read3(World *world, void *data) {
  auto command = static_cast<Command *>(data);
  for_each_unit(command, [](NeuralAmp *unit, Seat *seat) {
    if (unit->amp && seat->instance) seat->instance = neurig_amp_swap(unit->amp, seat->instance);
  });
  command->report.write(world, command->buffer, count_users(command->slot));
  return true;
}

bool free2(World *, void *data) {
  auto command = static_cast<Command *>(data);
  if (command->slot < 0) {
    Print("neuralamp_free: the number of a model is from 0 to %d\n", kSlots - 1);
    return true;
  }
  Slot &slot = slots[command->slot];
  if (slot.model) neurig_model_release(slot.model);
  slot = {};
  command->report.head[Report::kOk] = 1;
  return true;
}

bool free3(World *, void *data) {
  for_each_unit(static_cast<Command *>(data), [](NeuralAmp *unit, Seat *seat) {
    if (unit->amp) seat->instance = neurig_amp_swap(unit->amp, nullptr);
  });
  return true;
}

bool query2(World *, void *data) {
  auto command = static_cast<Command *>(data);
  if (command->slot < 0) {
    command->report.fail("the number of a model is from 0 to %d", kSlots - 1);
  } else {
    command->report.head[Report::kOk] = 1;
    command->report.describe(slots[command->slot]);
  }
  return true;
}

bool query3(World *world, void *data) {
  auto command = static_cast<Command *>(data);
  command->report.write(world, command->buffer, count_users(command->slot));
  return true;
}

int get_slot(sc_msg_iter *arguments) {
  int slot = arguments->geti(-1);
  return slot >= 0 && slot < kSlots ? slot : -1;
}

/* `command` with the arguments that follow: [buffer [message]]. */
void perform_request(World *world, Command *command, sc_msg_iter *arguments, AsyncStageFn stage2, AsyncStageFn stage3,
                     void *reply, const char *name) {
  if (!command) {
    Print("%s: the server's real-time memory is used up (ServerOptions.memSize)\n", name);
    return;
  }
  command->buffer = arguments->geti(-1);
  size_t size = arguments->getbsize();
  if (size > arguments->remain() - sizeof(int32)) size = 0;
  auto message = size ? const_cast<char *>(arguments->rdpos + sizeof(int32)) : nullptr;
  perform(world, command, stage2, stage3, free_seats, reply, name, static_cast<int>(size), message);
}

void read_command(World *world, void *, sc_msg_iter *arguments, void *reply) {
  int slot = get_slot(arguments);
  const char *path = arguments->gets("");
  Command *command = make_command_for_units(world, slot, path ? path : "");
  perform_request(world, command, arguments, read2, read3, reply, "neuralamp_read");
}

void free_command(World *world, void *, sc_msg_iter *arguments, void *reply) {
  Command *command = make_command_for_units(world, get_slot(arguments));
  perform_request(world, command, arguments, free2, free3, reply, "neuralamp_free");
}

void query_command(World *world, void *, sc_msg_iter *arguments, void *reply) {
  Command *command = make_command(world, get_slot(arguments), 0);
  perform_request(world, command, arguments, query2, query3, reply, "neuralamp_query");
}

}  // namespace

PluginLoad(NeuralAmp) {
  ft = inTable;
  registerUnit<NeuralAmp>(ft, "NeuralAmp");
  DefinePlugInCmd("neuralamp_read", read_command, nullptr);
  DefinePlugInCmd("neuralamp_free", free_command, nullptr);
  DefinePlugInCmd("neuralamp_query", query_command, nullptr);
}
