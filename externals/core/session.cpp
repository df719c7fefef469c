#include "session.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace neurig {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr const char *kFailure = "the network has failed, or gave a number that is not finite";
constexpr double kTolerance = 1e-3;  // of values beyond 0 and 1, as rounding in a patch makes them

Session::Session(int dimension, double now) : begin_(now) {
  settings_[NEURIG_SESSION_THRESHOLD] = 0.1;
  settings_[NEURIG_SESSION_TIMESCALE] = 1;
  settings_[NEURIG_SESSION_PITEMP] = 1;
  settings_[NEURIG_SESSION_SIGMATEMP] = 0.01;
  settings_[NEURIG_SESSION_MIX] = 1;
  for (int i = 0; i < kMostPending; i++) pending_[i] = {0, 0, i};
  frames_.resize(size_t(dimension) * kMostPending);
  frame_.resize(size_t(dimension));
  player_.resize(size_t(dimension));
}

void Session::replace(const neurig_network *network, double now) {
  if (network && size_t(network->dimension) > frame_.size()) {
    const size_t size = size_t(network->dimension);
    frames_.reserve(size * kMostPending), frame_.reserve(size), player_.reserve(size);
    frames_.resize(size * kMostPending), frame_.resize(size), player_.resize(size);
  }
  const int before = network_.dimension;
  network_ = network ? *network : neurig_network{};
  if (network_.dimension != before) played_ = false;  // the player's hands have another form now
  if (seeded_ && network) network_.seed(network_.handle, seed_);
  restart(now);
}

bool Session::set_mode(int mode, double now) {
  if (mode < 0 || mode >= NEURIG_MODES) return false;
  mode_ = mode;
  heard_ = false;
  restart(now);
  return true;
}

void Session::run(bool on, double now) {
  if (on == running_) return;
  running_ = on;
  restart(now);
}

bool Session::set(int setting, double value) {
  const double highest = setting == NEURIG_SESSION_MIX ? 1 : std::numeric_limits<double>::max();
  if (setting < 0 || setting >= NEURIG_SESSION_SETTINGS || !(value >= 0 && value <= highest)) return false;
  if (setting == NEURIG_SESSION_PITEMP && value == 0) return false;
  settings_[setting] = value;
  return true;
}

void Session::seed(uint64_t seed) {
  seed_ = seed;
  seeded_ = true;
  if (network_.dimension) network_.seed(network_.handle, seed);
}

void Session::reset(double now) {
  if (network_.dimension) network_.reset(network_.handle);
  heard_ = false;
  restart(now);
}

// What was about to be played is not.
void Session::restart(double now) {
  count_ = 0;
  begin_ = now;
  failed_ = false;
  told_ = true;
}

void Session::fail() {
  count_ = 0;
  failed_ = true;
  told_ = false;
}

bool Session::check(const double *values, int count, char *error, int size) const {
  const auto say = [error, size](const char *format, auto... what) {
    if (error && size > 0) std::snprintf(error, size_t(size), format, what...);
    return false;
  };
  if (!network_.dimension) return say("no model is loaded");
  if (count != network_.dimension - 1)
    return say("this predictor takes %d values, not %d", network_.dimension - 1, count);
  for (int i = 0; i < count; i++) {
    if (std::isnan(values[i])) return say("x%d is nan, but values go from 0 to 1", i + 1);
    if (!(values[i] >= -kTolerance && values[i] <= 1 + kTolerance))
      return say("x%d is %g, but values go from 0 to 1", i + 1, values[i]);
  }
  return say("%s", ""), true;
}

int Session::input(const double *values, int count, double now, double *frame, char *error, int size) {
  if (!check(values, count, error, size)) return -1;
  frame_[0] = played_ ? std::max(now - last_input_, kShortest) : kShortest;
  for (int i = 0; i < count; i++) player_[size_t(i)] = frame_[size_t(i) + 1] = std::clamp(values[i], 0.0, 1.0);
  if (frame) std::copy_n(frame_.begin(), size_t(count) + 1, frame);
  last_input_ = now;
  played_ = true;
  if (!running_ || (mode_ != NEURIG_MODE_CALLRESPONSE && !answers())) return 0;
  if (mode_ == NEURIG_MODE_CALLRESPONSE) {
    count_ = 0;
    heard_ = true;
  }
  failed_ = false;
  told_ = true;
  if (network_.condition(network_.handle, frame_.data()) < 0)
    fail();
  else if (answers())
    plan(now, 0);
  if (!failed_) return 0;
  if (error && size > 0) std::snprintf(error, size_t(size), "%s", kFailure);
  told_ = true;
  return -2;
}

double Session::due() const {
  if (!running_ || !network_.dimension || mode_ == NEURIG_MODE_USERONLY || failed_) return kNever;
  if (count_) return pending_[0].time;
  if (mode_ == NEURIG_MODE_BATTLE) return begin_;
  if (mode_ == NEURIG_MODE_CALLRESPONSE && heard_)
    return std::max(last_input_ + settings_[NEURIG_SESSION_THRESHOLD], begin_);
  return kNever;
}

int Session::advance(double now, double *time, double *frame) {
  for (;;) {
    if (failed_ && !told_) {
      told_ = true;
      return -1;
    }
    const double due = this->due();
    if (!(due <= now)) return 0;
    const double start = now - due < kLatest ? due : now;
    const bool found = count_ > 0;
    if (found) {
      *time = due;
      std::copy_n(place(pending_[0].place), network_.dimension, frame);
      remove(0);
      if (answers()) return 1;
      mix(frame);
    }
    plan(start, kShortest);
    if (found) return 1;
  }
}

// Asks the network for a frame, to be heard its time step after `start`. Counting from when the frame before was due,
// not from when it was played, keeps the tempo.
void Session::plan(double start, double shortest) {
  const size_t dimension = size_t(network_.dimension);
  if (network_.predict(network_.handle, settings_[NEURIG_SESSION_PITEMP], settings_[NEURIG_SESSION_SIGMATEMP],
                       frame_.data()) < 0)
    return fail();
  for (size_t d = 0; d < dimension; d++)
    if (!std::isfinite(frame_[d])) return fail();
  frame_[0] = std::max(frame_[0], kShortest);
  for (size_t d = 1; d < dimension; d++) frame_[d] = std::clamp(frame_[d], 0.0, 1.0);
  if (answers()) mix(frame_.data());  // with the frame that it answers
  const double wait = std::max(frame_[0] * settings_[NEURIG_SESSION_TIMESCALE], shortest);
  keep(mode_ == NEURIG_MODE_FILTER ? start : start + wait);
}

// The frame at hand is pending. Where all places are taken, that of the answer to the gesture before is: the newest
// gesture is answered, and those that wait longest are heard, however fast gestures come.
void Session::keep(double time) {
  if (count_ == kMostPending)
    remove(int(std::max_element(pending_, pending_ + count_, [](const Pending &a, const Pending &b) {
                 return a.number < b.number;
               }) - pending_));
  const int free = pending_[count_].place;
  int at = count_++;
  for (; at > 0 && pending_[at - 1].time > time; at--) pending_[at] = pending_[at - 1];
  pending_[at] = {time, number_++, free};
  std::copy_n(frame_.begin(), network_.dimension, place(free));
}

void Session::remove(int index) {
  const int place = pending_[index].place;
  std::copy(pending_ + index + 1, pending_ + count_, pending_ + index);
  pending_[--count_].place = place;
}

void Session::mix(double *frame) const {
  const double network = settings_[NEURIG_SESSION_MIX];
  if (!played_ || network == 1) return;
  for (int d = 1; d < network_.dimension; d++)
    frame[d] = (1 - network) * player_[size_t(d) - 1] + network * frame[d];
}

}  // namespace neurig
