// Who plays when: a player and a network, and the modes in which they play together. A state machine that neither
// sleeps nor looks at a clock: it is told what happened and what time it is, and tells which frames are due.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "neurig.h"

namespace neurig {

class Session {
 public:
  Session(int dimension, double now);

  // Allocates only where the network's frames are longer than those of all before. May throw bad_alloc; then nothing
  // has changed.
  void replace(const neurig_network *network, double now);
  // All [real time]; see neurig.h.
  int dimension() const { return network_.dimension; }
  int mode() const { return mode_; }
  bool set_mode(int mode, double now);
  bool running() const { return running_; }
  void run(bool on, double now);
  double get(int setting) const { return settings_[setting]; }
  bool set(int setting, double value);
  void seed(uint64_t seed);
  void reset(double now);
  int input(const double *values, int count, double now, double *frame, char *error, int size);
  double due() const;
  int advance(double now, double *time, double *frame);

 private:
  static constexpr int kMostPending = 64;     // predictions that may wait for their time
  static constexpr double kShortest = 0.001;  // s, from a frame to the one that follows from it
  static constexpr double kLatest = 1;        // s late (the machine slept): it goes on from now, without catching up

  // A prediction that waits; the first `count_` are in use, in the order of their times, and then of asking.
  struct Pending {
    double time;
    uint64_t number;  // counts all that were ever asked for
    int place;        // of its frame in frames_
  };

  bool answers() const { return mode_ == NEURIG_MODE_POLYPHONY || mode_ == NEURIG_MODE_FILTER; }
  bool check(const double *values, int count, char *error, int size) const;
  void restart(double now);
  void fail();
  void plan(double start, double shortest);
  void keep(double time);
  void remove(int index);
  void mix(double *frame) const;
  double *place(int number) { return frames_.data() + size_t(number) * size_t(network_.dimension); }

  neurig_network network_{};
  int mode_ = NEURIG_MODE_CALLRESPONSE;
  bool running_ = true;
  double settings_[NEURIG_SESSION_SETTINGS];
  uint64_t seed_ = 0;
  bool seeded_ = false;

  double begin_;             // nothing plays by itself before
  double last_input_ = 0;    // when the player's last frame came
  bool played_ = false;      // has there been one at all?
  bool heard_ = false;       // callresponse: has the network something to answer?
  bool failed_ = false;      // the network failed: silence until something new happens
  bool told_ = true;         // … and the host has been told
  Pending pending_[kMostPending];
  int count_ = 0;
  uint64_t number_ = 0;
  std::vector<double> frames_;  // a place for each that is pending
  std::vector<double> frame_;   // the one at hand
  std::vector<double> player_;  // the player's last, without dt
};

}  // namespace neurig
