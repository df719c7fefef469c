/* Models in numbered slots, as sounds are in buffers, and the units that play them; for scsynth and supernova.
 *
 *   /cmd <name>_read  slot path [buffer [message]]   reads a model into a slot, in place of the one that was there
 *   /cmd <name>_free  slot                           empties a slot
 *   /cmd <name>_query slot buffer [message]          tells what is in a slot
 *
 * A slot keeps the model; every unit has a player of its own, and in it a voice: what it needs to play one model. When
 * a slot changes, all units on it get new voices. What there is to tell goes into a buffer (see Report): that is how a
 * plugin can reach a client on another machine. `message` is performed when it is there, so that a
 * [/b_getn, buffer, 0, 512] brings it to the client. /done follows what succeeded.
 *
 * Everything that takes time is an asynchronous command of the server's, in stages:
 *   2  non-real-time thread   reads, makes, frees; alone touches the slots
 *   3  real-time thread       swaps pointers; touches the units and the buffers, never while audio is computed
 *   4  non-real-time thread   frees what stage 3 gave back
 * supernova computes units in parallel: they touch nothing but themselves. On both servers constructors run one at a
 * time, and neither they nor destructors run together with a stage 3.
 */
#pragma once
#include "SC_PlugIn.hpp"

#include <pthread.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "../core/neurig.h"

static InterfaceTable *ft;

namespace {

constexpr int kSlots = 1024;

/* What is written into a client's buffer. The text is a failure's reason, or else the model's path and, a line each,
 * what the model has names for. There may be numbers in its place. */
struct Report {
  enum { kOk, kLoaded, kAbout, kUsers = kAbout + 3, kLength, kHead = 8 };  // kAbout: three numbers about the model
  static constexpr int kBody = 504;
  float head[kHead];
  char text[kBody];
  int count;  // of the numbers
  float numbers[kBody];

  void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    head[kOk] = 0;
    count = 0;
  }

  void write(World *world, int buffer, int users) {
    if (buffer < 0 || buffer >= static_cast<int>(world->mNumSndBufs)) return;
    SndBuf *target = World_GetBuf(world, buffer);
    if (!target->data) return;
    const int length = count ? count : static_cast<int>(strlen(text));
    head[kUsers] = static_cast<float>(users);
    head[kLength] = static_cast<float>(length);
    for (int i = 0; i < kHead && i < target->samples; i++) target->data[i] = head[i];
    for (int i = 0; i < length && kHead + i < target->samples; i++)
      target->data[kHead + i] = count ? numbers[i] : static_cast<unsigned char>(text[i]);
  }
};

/* The arguments of a command, one after the other. From the first of a wrong kind on there are none: the servers' own
 * iterator loses its place there. */
class Arguments {
 public:
  explicit Arguments(sc_msg_iter *from) : from_(from) {}

  float number(float otherwise) { return is_next("ifd") ? static_cast<float>(from_->getd()) : otherwise; }
  int whole(int otherwise) {
    const double value = is_next("ifd") ? from_->getd() : otherwise;
    return value >= INT32_MIN && value <= INT32_MAX ? static_cast<int>(value) : otherwise;
  }
  int slot() {
    const int value = whole(-1);
    return value >= 0 && value < kSlots ? value : -1;
  }
  const char *text() { return is_next("s") ? from_->gets("") : ""; }
  /* A completion message. */
  char *message(int *size) {
    *size = is_next("b") ? static_cast<int>(from_->getbsize()) : 0;
    if (*size <= 0 || *size > left() - 4) *size = 0;
    return *size ? const_cast<char *>(from_->rdpos + sizeof(int32)) : nullptr;
  }
  int left() const { return static_cast<int>(from_->endpos - from_->rdpos); }  // bytes

 private:
  bool is_next(const char *kinds) {
    const char tag = from_->tags && left() > 0 ? from_->tags[from_->count] : 0;
    if (!tag || !strchr(kinds, tag)) from_->rdpos = from_->endpos;
    return left() > 0;
  }
  sc_msg_iter *from_;
};

/* A unit that plays the model of a slot. `Self` derives from it and says how:
 *
 *   static constexpr const char *kName, *kRead, *kFree, *kQuery
 *   static const char *refuse(const neurig_model *)      why such a model cannot be played, or nullptr
 *   static Player *make_player(World *), void free_player(Player *)
 *   static Voice *make_voice(World *, neurig_model *, char *reason, int size), void free_voice(Voice *)
 *   static void describe(neurig_model *, Voice *, float *about, std::string &lines)      three numbers; further lines
 *   static Voice *join(World *, Player *, Voice *)       stage 2: a new unit's; gives the voice back if the player has
 *                                                        not taken it
 *   void attach(Player *, Voice *)                       stage 3: what join has made
 *   Voice *change(Voice *)                               stage 3: another voice, or none; gives one that is to be freed
 *   static void changed(int slot, const float *about)    stage 3: a slot has another model (with describe's numbers), or
 *                                                        none (zeros)
 */
template <class Self, class Player, class Voice> struct SlotUnit : public SCUnit {
  int slot;             // -1: none
  int64_t id;           // of all units ever, in order
  Self *newer, *older;  // in the list of units

  static inline Self *newest = nullptr;  // real-time thread only
  static inline int64_t ids = 0;         // likewise

  struct Slot {
    neurig_model *model = nullptr;
    std::string path, lines;
    float about[3] = {};
  };
  static inline Slot slots[kSlots];  // non-real-time thread only

  /* What a command holds for one unit: before stage 3 what was made for it, after it what is to be freed. */
  struct Seat {
    int64_t unit;
    Player *player;
    Voice *voice;
  };

  /* An asynchronous command on its way through the stages: one piece of real-time memory, with its seats and what else
   * it has to carry: a path, for most. */
  struct Command {
    int slot, buffer, seats;
    Report report;
    Seat *seat;
    char *cargo;
  };

  /* In the constructor, at its end. */
  void enlist(float number) {
    slot = number >= 0 && number < kSlots ? static_cast<int>(number) : -1;
    id = ++ids;
    newer = nullptr;
    older = newest;
    if (newest) newest->newer = static_cast<Self *>(this);
    newest = static_cast<Self *>(this);
    if (Command *command = make_command(mWorld, slot, 1)) {
      command->seat[0].unit = id;
      perform(mWorld, command, attach2, attach3, free_seats);
    }
  }

  /* In the destructor. */
  void leave(Player *player, Voice *voice) {
    (newer ? newer->older : newest) = older;
    if (older) older->newer = newer;
    if (!player && !voice) return;
    if (Command *command = make_command(mWorld, slot, 1)) {
      command->seat[0].player = player;
      command->seat[0].voice = voice;
      perform(mWorld, command, free_seats, nullptr, nullptr);
    }
  }

  /* The calculation of a unit: `Self::next`, which is not interrupted. JACK ends its audio thread by cancelling it, and
   * supernova, which it serves, at any instruction. C++ can be unwound only where it calls something, and elsewhere ends
   * the whole program. So the cancellation waits; what has no destructor here can be unwound where it then comes. */
  void compute(int n) {
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    static_cast<Self *>(this)->next(n);
    pthread_setcancelstate(state, nullptr);
  }

  static void define_commands() {
    DefinePlugInCmd(Self::kRead, read_command, nullptr);
    DefinePlugInCmd(Self::kFree, free_command, nullptr);
    DefinePlugInCmd(Self::kQuery, query_command, nullptr);
  }

 protected:
  static Command *make_command(World *world, int slot, int seats, size_t cargo = 1) {
    size_t size = sizeof(Command) + seats * sizeof(Seat) + cargo;
    char *memory = static_cast<char *>(RTAlloc(world, size));
    if (!memory) return nullptr;
    memset(memory, 0, size);
    auto command = reinterpret_cast<Command *>(memory);
    command->slot = slot;
    command->buffer = -1;
    command->seats = seats;
    command->seat = reinterpret_cast<Seat *>(memory + sizeof(Command));
    command->cargo = memory + sizeof(Command) + seats * sizeof(Seat);
    return command;
  }

  /* A command with a seat for every unit on a slot. */
  static Command *make_command_for_units(World *world, int slot, const char *path = "") {
    Command *command = make_command(world, slot, count_users(slot), strlen(path) + 1);
    if (!command) return nullptr;
    strcpy(command->cargo, path);
    Seat *seat = command->seat;
    for (Self *unit = newest; unit; unit = unit->older)
      if (unit->slot == slot) (seat++)->unit = unit->id;
    return command;
  }

  static int count_users(int slot) {
    int users = 0;
    for (Self *unit = newest; unit; unit = unit->older) users += unit->slot == slot;
    return users;
  }

  /* Calls `act(unit, seat)` for every seat whose unit still lives. Both are in the order of falling ids. */
  template <class Act> static void for_each_unit(Command *command, Act act) {
    Self *unit = newest;
    for (Seat *seat = command->seat; seat != command->seat + command->seats; seat++) {
      while (unit && unit->id > seat->unit) unit = unit->older;
      if (unit && unit->id == seat->unit) act(unit, seat);
    }
  }

  static void cleanup(World *world, void *data) { RTFree(world, data); }

  static bool free_seats(World *, void *data) {  // stage 2 or 4
    auto command = static_cast<Command *>(data);
    for (int i = 0; i < command->seats; i++) {
      if (command->seat[i].voice) Self::free_voice(command->seat[i].voice);
      if (command->seat[i].player) Self::free_player(command->seat[i].player);
    }
    return command->report.head[Report::kOk] != 0;
  }

  static void perform(World *world, Command *command, AsyncStageFn stage2, AsyncStageFn stage3, AsyncStageFn stage4,
                      void *reply = nullptr, const char *name = nullptr, int message_size = 0,
                      void *message = nullptr) {
    if (DoAsynchronousCommand(world, reply, name, command, stage2, stage3, stage4, cleanup, message_size, message) != 0)
      RTFree(world, command);
  }

  /* ---- A new unit ---- */

  static bool attach2(World *world, void *data) {
    auto command = static_cast<Command *>(data);
    Seat &seat = command->seat[0];
    Voice *voice = nullptr;
    seat.player = Self::make_player(world);
    if (!seat.player) return false;
    if (command->slot < 0) {
      Print("%s: the number of a model is from 0 to %d\n", Self::kName, kSlots - 1);
    } else if (!slots[command->slot].model) {
      Print("%s: slot %d is empty: silence until a model is read into it\n", Self::kName, command->slot);
    } else {
      char reason[256] = "";
      voice = Self::make_voice(world, slots[command->slot].model, reason, sizeof reason);
      if (!voice) Print("%s: slot %d: %s\n", Self::kName, command->slot, reason);
    }
    seat.voice = Self::join(world, seat.player, voice);
    return true;
  }

  static bool attach3(World *, void *data) {
    for_each_unit(static_cast<Command *>(data), [](Self *unit, Seat *seat) {
      unit->attach(seat->player, seat->voice);
      seat->player = nullptr;
      seat->voice = nullptr;
    });
    return true;
  }

  /* ---- Commands ---- */

  /* A path on this machine, which the client need not know: ~ is the folder of the user that the server belongs to. */
  static std::string at_home(const char *path) {
    const char *home = path[0] == '~' && (!path[1] || path[1] == '/') ? getenv("HOME") : nullptr;
    return home ? std::string(home) + (path + 1) : path;
  }

  static void describe(Report &report, const Slot &slot) {
    report.head[Report::kLoaded] = slot.model != nullptr;
    if (!slot.model) return;
    memcpy(report.head + Report::kAbout, slot.about, sizeof slot.about);
    if (report.head[Report::kOk])
      snprintf(report.text, sizeof report.text, "%s%s", slot.path.c_str(), slot.lines.c_str());
  }

  static bool read2(World *world, void *data) {
    auto command = static_cast<Command *>(data);
    Report &report = command->report;
    neurig_model *model = nullptr;
    Voice *trial = nullptr;
    char reason[400] = "";
    const std::string path = at_home(command->cargo);
    if (command->slot < 0)
      report.fail("the number of a model is from 0 to %d", kSlots - 1);
    else if (path.empty())
      report.fail("no path given");
    else if (!(model = neurig_model_load(path.c_str(), reason, sizeof reason)))
      report.fail("%s", reason);
    else if (const char *refused = Self::refuse(model))
      report.fail("%s", refused);
    else if (!(trial = Self::make_voice(world, model, reason, sizeof reason)))
      report.fail("%s", reason);
    else
      report.head[Report::kOk] = 1;

    if (report.head[Report::kOk]) {
      if (const char *warning = neurig_model_warning(model))
        Print("%s: %.1000s: %.1000s\n", Self::kRead, path.c_str(), warning);
      Slot &slot = slots[command->slot];
      if (slot.model) neurig_model_release(slot.model);
      slot = {model, path, "", {}};
      Self::describe(model, trial, slot.about, slot.lines);
      for (int i = 0; i < command->seats; i++)
        command->seat[i].voice = Self::make_voice(world, model, nullptr, 0);
    } else {
      if (model) neurig_model_release(model);
      // supernova cannot print more than 4095 characters at once: what is longer writes over its stack
      if (command->buffer < 0) Print("%s: %.1000s: %s\n", Self::kRead, path.c_str(), report.text);
    }
    if (trial) Self::free_voice(trial);
    if (command->slot >= 0) describe(report, slots[command->slot]);
    return true;
  }

  static bool read3(World *world, void *data) {
    auto command = static_cast<Command *>(data);
    for_each_unit(command, [](Self *unit, Seat *seat) {
      if (seat->voice) seat->voice = unit->change(seat->voice);
    });
    if (command->report.head[Report::kOk]) Self::changed(command->slot, command->report.head + Report::kAbout);
    command->report.write(world, command->buffer, count_users(command->slot));
    return true;
  }

  static bool free2(World *, void *data) {
    auto command = static_cast<Command *>(data);
    if (command->slot < 0) {
      Print("%s: the number of a model is from 0 to %d\n", Self::kFree, kSlots - 1);
      return true;
    }
    Slot &slot = slots[command->slot];
    if (slot.model) neurig_model_release(slot.model);
    slot = {};
    command->report.head[Report::kOk] = 1;
    return true;
  }

  static bool free3(World *, void *data) {
    auto command = static_cast<Command *>(data);
    for_each_unit(command, [](Self *unit, Seat *seat) { seat->voice = unit->change(nullptr); });
    if (command->slot >= 0) Self::changed(command->slot, command->report.head + Report::kAbout);
    return true;
  }

  static bool query2(World *, void *data) {
    auto command = static_cast<Command *>(data);
    if (command->slot < 0) {
      command->report.fail("the number of a model is from 0 to %d", kSlots - 1);
    } else {
      command->report.head[Report::kOk] = 1;
      describe(command->report, slots[command->slot]);
    }
    return true;
  }

  static bool query3(World *world, void *data) {
    auto command = static_cast<Command *>(data);
    command->report.write(world, command->buffer, count_users(command->slot));
    return true;
  }

  /* `command` with the arguments that follow: [buffer [message]]. */
  static void perform_request(World *world, Command *command, Arguments &arguments, AsyncStageFn stage2,
                              AsyncStageFn stage3, void *reply, const char *name) {
    if (!command) {
      Print("%s: the server's real-time memory is used up (ServerOptions.memSize)\n", name);
      return;
    }
    int size;
    command->buffer = arguments.whole(-1);
    char *message = arguments.message(&size);
    perform(world, command, stage2, stage3, free_seats, reply, name, size, message);
  }

  static void read_command(World *world, void *, sc_msg_iter *from, void *reply) {
    Arguments arguments(from);
    const int slot = arguments.slot();
    const char *path = arguments.text();
    perform_request(world, make_command_for_units(world, slot, path), arguments, read2, read3, reply, Self::kRead);
  }

  static void free_command(World *world, void *, sc_msg_iter *from, void *reply) {
    Arguments arguments(from);
    perform_request(world, make_command_for_units(world, arguments.slot()), arguments, free2, free3, reply, Self::kFree);
  }

  static void query_command(World *world, void *, sc_msg_iter *from, void *reply) {
    Arguments arguments(from);
    perform_request(world, make_command(world, arguments.slot(), 0), arguments, query2, query3, reply, Self::kQuery);
  }
};

}  // namespace
