#include "deferred.h"

#include <algorithm>

#include "kernels.h"
#include "model.h"

namespace neurig {
namespace {

constexpr int kRoom = 8192;  // samples that may wait, beyond the delay

uint64_t ring_size(int delay) {
  uint64_t size = 1;
  while (size < uint64_t(delay) + kRoom) size *= 2;
  return size;
}

}  // namespace

Deferred::Deferred(int delay, Work work, std::function<void()> reset)
    : delay_(delay), mask_(ring_size(delay) - 1), in_(mask_ + 1), out_(mask_ + 1), work_(std::move(work)),
      reset_(std::move(reset)) {
  if (delay < 1 || delay > 1 << 20) throw Error("a delay of " + std::to_string(delay) + " samples is out of range");
  if (sem_init(&more_, 0, 0)) throw std::bad_alloc();
  thread_ = std::thread([this] { run(); });
}

Deferred::~Deferred() {
  ends_ = true;
  sem_post(&more_);
  thread_.join();
  sem_destroy(&more_);
}

void Deferred::process(const float *in, float *out, int n) {
  while (n > 0) {
    const int count = std::min(n, kRoom / 2);
    const uint64_t start = given_.load(std::memory_order_relaxed), done = done_.load(std::memory_order_acquire);
    if (start + uint64_t(count) - done > mask_ + 1 - uint64_t(delay_)) {
      std::fill_n(out, n, 0.f);
      late_.fetch_add(n, std::memory_order_relaxed);
      return;
    }
    for (int i = 0; i < count; i++) in_[(start + uint64_t(i)) & mask_] = in[i];
    int late = 0;
    for (int i = 0; i < count; i++) {
      const uint64_t now = start + uint64_t(i), heard = now - uint64_t(delay_);
      const bool begun = now >= first_ + uint64_t(delay_), ready = begun && heard < done;
      late += begun && !ready;
      out[i] = ready ? out_[heard & mask_] : 0.f;
    }
    if (late) late_.fetch_add(late, std::memory_order_relaxed);
    given_.store(start + uint64_t(count), std::memory_order_release);
    sem_post(&more_);
    in += count, out += count, n -= count;
  }
}

void Deferred::reset() {
  first_ = given_.load(std::memory_order_relaxed);
  fresh_.store(first_, std::memory_order_release);
}

void Deferred::run() {
  float x[kBlock], y[kBlock];
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
      const int n = int(end - at);
      for (int i = 0; i < n; i++) x[i] = in_[(at + uint64_t(i)) & mask_];
      work_(x, y, n);
      for (int i = 0; i < n; i++) out_[(at + uint64_t(i)) & mask_] = y[i];
      done_.store(end, std::memory_order_release);
    }
  }
}

}  // namespace neurig
