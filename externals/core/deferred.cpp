#include "deferred.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <chrono>

#include "kernels.h"
#include "model.h"

namespace neurig {
namespace {

constexpr int kRoom = 8192;   // samples that may wait, beyond the delay
constexpr size_t kNotes = 1024;  // settings that may be on their way; more of them wait until there is room

int checked(int delay) {
  if (delay < 1 || delay > 1 << 20) throw Error("a delay of " + std::to_string(delay) + " samples is out of range");
  return delay;
}

uint64_t ring_size(int delay) {
  uint64_t size = 1;
  while (size < uint64_t(delay) + kRoom) size *= 2;
  return size;
}

}  // namespace

Deferred::Deferred(int delay, int channels, std::vector<float> settings, Work work, Turn turn,
                   std::function<void()> reset)
    : delay_(checked(delay)), channels_(channels), mask_(ring_size(delay) - 1), in_(size_t(channels) * (mask_ + 1)),
      out_(in_.size()), asked_(settings), told_(std::move(settings)), notes_(kNotes), work_(std::move(work)),
      turn_(std::move(turn)), reset_(std::move(reset)) {
  if (sem_init(&more_, 0, 0)) throw std::bad_alloc();
  thread_ = std::thread([this] { run(); });
}

Deferred::~Deferred() {
  ends_ = true;
  sem_post(&more_);
  thread_.join();
  sem_destroy(&more_);
}

double Deferred::cpu() const {
  clockid_t clock;
  timespec used{};
  if (pthread_getcpuclockid(const_cast<std::thread &>(thread_).native_handle(), &clock)) return 0;
  clock_gettime(clock, &used);
  return double(used.tv_sec) + 1e-9 * double(used.tv_nsec);
}

void Deferred::wait_for(uint64_t sample) const {
  while (done_.load(std::memory_order_acquire) < sample) std::this_thread::sleep_for(std::chrono::microseconds(20));
}

// The settings that have changed since the last samples.
void Deferred::tell(uint64_t at) {
  uint64_t noted = noted_.load(std::memory_order_relaxed);
  for (size_t setting = 0; setting < asked_.size(); setting++) {
    if (asked_[setting] == told_[setting]) continue;
    if (noted - heeded_.load(std::memory_order_acquire) == kNotes) break;
    notes_[noted++ % kNotes] = {at, setting, told_[setting] = asked_[setting]};
  }
  noted_.store(noted, std::memory_order_release);
}

void Deferred::process(const float *in, float *out, int n) {
  for (int made = 0; made < n;) {
    const int count = std::min({n - made, kRoom / 2, waits_ ? delay_ : kRoom});
    const uint64_t start = given_.load(std::memory_order_relaxed), end = start + uint64_t(count);
    const uint64_t size = mask_ + 1, room = size - uint64_t(delay_);
    if (waits_ && end > room) wait_for(end - room);
    if (waits_ && end > uint64_t(delay_)) wait_for(end - uint64_t(delay_));
    const uint64_t done = done_.load(std::memory_order_acquire);
    if (end - done > room) {
      for (int k = 0; k < channels_; k++) std::fill_n(out + ptrdiff_t(k) * n + made, n - made, 0.f);
      late_.fetch_add(n - made, std::memory_order_relaxed);
      return;
    }
    tell(start);
    // Of the samples to be heard those from `begun` have been given, and those up to `done` are ready.
    const uint64_t begun = std::max(start, first_ + uint64_t(delay_));
    const uint64_t ready = std::max(begun, std::min(end, done + uint64_t(delay_)));
    for (int k = 0; k < channels_; k++) {
      const float *x = in + ptrdiff_t(k) * n + made;
      float *y = out + ptrdiff_t(k) * n + made, *given = row(in_, k), *heard = row(out_, k);
      for (int i = 0; i < count; i++) given[(start + uint64_t(i)) & mask_] = x[i];
      for (int i = 0; i < count; i++) {
        const uint64_t now = start + uint64_t(i);
        y[i] = now >= begun && now < ready ? heard[(now - uint64_t(delay_)) & mask_] : 0.f;
      }
    }
    if (ready < end && begun < end) late_.fetch_add(int64_t(end - ready), std::memory_order_relaxed);
    given_.store(end, std::memory_order_release);
    sem_post(&more_);
    made += count;
  }
}

void Deferred::reset() {
  first_ = given_.load(std::memory_order_relaxed);
  fresh_.store(first_, std::memory_order_release);
}

void Deferred::run() {
  std::vector<float> x(size_t(channels_) * kBlock), y(x.size());
  uint64_t begun = 0;  // the sample at which the work last began
  while (true) {
    while (sem_wait(&more_)) {}
    if (ends_) return;
    while (!ends_) {
      const uint64_t at = done_.load(std::memory_order_relaxed), given = given_.load(std::memory_order_acquire);
      if (at == given) break;
      const uint64_t fresh = fresh_.load(std::memory_order_acquire);  // no older than what was given
      uint64_t end = std::min(given, at + kBlock);
      if (fresh > at) end = std::min(end, fresh);
      if (fresh != begun && at >= fresh) reset_(), begun = fresh;
      uint64_t heeded = heeded_.load(std::memory_order_relaxed);
      for (; heeded != noted_.load(std::memory_order_acquire); heeded++) {
        const Note &note = notes_[heeded % kNotes];
        if (note.at > at) {
          end = std::min(end, note.at);
          break;
        }
        turn_(note.setting, note.value);
      }
      heeded_.store(heeded, std::memory_order_release);
      const int n = int(end - at);
      for (int k = 0; k < channels_; k++)
        for (int i = 0; i < n; i++) x[size_t(k * n + i)] = row(in_, k)[(at + uint64_t(i)) & mask_];
      work_(x.data(), y.data(), n);
      for (int k = 0; k < channels_; k++)
        for (int i = 0; i < n; i++) row(out_, k)[(at + uint64_t(i)) & mask_] = y[size_t(k * n + i)];
      done_.store(end, std::memory_order_release);
    }
  }
}

}  // namespace neurig
