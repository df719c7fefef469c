// A log of what was played, one line per event, as IMPSY writes it and `neurig dataset` reads it:
//
//   2026-09-26T10:00:00.500000,interface,0.4724,0.25      who played: interface (the player) or rnn (the network)
//
// Pd's thread only puts events into a ring; a thread of the recording's own opens the file and writes each line with
// one call, so that a crash loses no more than what is on its way.
#pragma once
#include <fcntl.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

class Recording {
 public:
  static constexpr int kMostValues = 64;

  // `path`: a file, to which lines are added, or a folder, which gets a new file; `now`: seconds of the clock by which
  // events are timed.
  Recording(std::string path, double now) : path_(std::move(path)), begin_(now) {
    sem_init(&wake_, 0, 0);
    sem_init(&tried_, 0, 0);
    timeval time;
    gettimeofday(&time, nullptr);
    wall_ = time.tv_sec + 1e-6 * time.tv_usec;
  }
  ~Recording() {
    end();
    wait();
    sem_destroy(&wake_);
    sem_destroy(&tried_);
  }
  Recording(const Recording &) = delete;

  // `dimension`: of a frame, dt included; it becomes part of a new file's name. Once, before the first event.
  void start(int dimension) {
    dimension_ = dimension;
    begun_ = true;
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error &) {  // the system has no thread left
      errno = EAGAIN;
      fail();
      sem_post(&tried_);
      done_ = true;
    }
  }
  bool started() const { return begun_; }

  // An event, in the Pd thread. False: the ring is full, since the disk has not kept up for a thousand events.
  bool add(bool player, double now, const double *values, int count) {
    const unsigned at = written_.load(std::memory_order_relaxed);
    if (at - read_.load(std::memory_order_acquire) == kEvents) return false;
    Event &event = ring_[at % kEvents];
    event = {now, player, std::min(count, kMostValues), {}};
    std::copy_n(values, event.count, event.values);
    written_.store(at + 1, std::memory_order_release);
    sem_post(&wake_);
    return true;
  }

  // What has been added is still written; `done` tells when.
  void end() {
    ended_ = true;
    sem_post(&wake_);
  }
  // Waits for it.
  void wait() {
    if (thread_.joinable()) thread_.join();
  }
  bool done() const { return done_ || !begun_; }
  bool opened() const { return opened_; }
  // Waits for the file to be open, or to have failed. Once.
  void wait_for_opening() { sem_wait(&tried_); }
  // Why it does not go on; empty while it does. After opened or done.
  std::string problem() const { return failed_ ? problem_ : ""; }
  std::string path() const { return opened_ ? file_ : path_; }

 private:
  static constexpr unsigned kEvents = 1024;
  struct Event {
    double time;
    bool player;
    int count;
    double values[kMostValues];
  };

  void run() {
    const int file = open();
    if (file >= 0) opened_ = true;
    sem_post(&tried_);
    while (true) {
      sem_wait(&wake_);
      const bool last = ended_;
      unsigned at = read_.load(std::memory_order_relaxed);
      for (; at != written_.load(std::memory_order_acquire); read_.store(++at, std::memory_order_release))
        if (file >= 0 && !failed_) write(file, ring_[at % kEvents]);
      if (last) break;
    }
    if (file >= 0) ::close(file);
    done_ = true;
  }

  void fail() {
    problem_ = std::strerror(errno);
    failed_ = true;
  }

  int open() {
    struct stat info;
    const bool folder = stat(path_.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
    std::string time = stamp(wall_).substr(0, 19);
    for (char &c : time)
      if (c == ':') c = '-';
    int file, number = 1;
    do {  // another recording may have begun in the same second
      const std::string which = number > 1 ? "-" + std::to_string(number) : "";
      file_ = folder ? path_ + "/" + time + which + "-" + std::to_string(dimension_) + "d-mdrnn.log" : path_;
      file = ::open(file_.c_str(), O_WRONLY | O_CREAT | (folder ? O_EXCL : O_APPEND) | O_CLOEXEC, 0666);
      number++;
    } while (file < 0 && folder && errno == EEXIST);
    if (file < 0) fail();
    return file;
  }

  void write(int file, const Event &event) {
    std::string line = stamp(wall_ + (event.time - begin_)) + (event.player ? ",interface" : ",rnn");
    for (int i = 0; i < event.count; i++) {
      const float narrow = static_cast<float>(event.values[i]);
      char digits[32];
      const auto end = narrow == event.values[i] ? std::to_chars(digits, digits + sizeof digits, narrow).ptr
                                                 : std::to_chars(digits, digits + sizeof digits, event.values[i]).ptr;
      line.append(",").append(digits, end);
    }
    line += '\n';
    if (::write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size())) fail();
  }

  // Local time, as it was counted when the recording began: no change of the clock comes between two events.
  std::string stamp(double wall) const {
    const auto begin = static_cast<time_t>(wall_);
    tm local{}, now{};
    localtime_r(&begin, &local);
    const long long micros = std::llround(wall * 1e6);
    const time_t seconds = static_cast<time_t>(micros / 1000000) + local.tm_gmtoff;
    gmtime_r(&seconds, &now);
    char text[48];
    const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &now);
    std::snprintf(text + length, sizeof text - length, ".%06lld", micros % 1000000);
    return text;
  }

  const std::string path_;
  std::string file_, problem_;
  double begin_, wall_;  // the same moment by both clocks
  int dimension_ = 0;
  bool begun_ = false;
  std::vector<Event> ring_{kEvents};
  std::atomic<unsigned> written_{0}, read_{0};
  std::atomic<bool> ended_{false}, done_{false}, opened_{false}, failed_{false};
  sem_t wake_, tried_;
  std::thread thread_;
};

}  // namespace
