// Sound files (WAV, FLAC, AIFF) as impulse responses, trimmed and normalised, so that they are the same in every host.
//
// libsndfile reads them. It is looked for when the first one is loaded: hosts that never load one do without it.
#include <dlfcn.h>
#include <sndfile.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "model.h"
#include "neurig.h"

namespace neurig {
namespace {

constexpr sf_count_t kMaxFrames = kMaxStateFloats / 8;
constexpr int kMaxFileChannels = 16;
constexpr double kNothing = 1e-10;  // share of a response's energy, -100 dB, which may be cut off at its end

std::atomic<const char *> preferred{nullptr};

struct Library {
  decltype(&::sf_open_virtual) open_virtual = nullptr;
  decltype(&::sf_readf_float) read = nullptr;
  decltype(&::sf_close) close = nullptr;
  decltype(&::sf_strerror) error = nullptr;

  Library() {
    void *library = nullptr;
    for (const char *name : {preferred.load(), "libsndfile.so.1", "libsndfile.so"})
      if (!library && name) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
      throw Error("reading sound files takes libsndfile, which is not on this system (in Debian, the package "
                  "libsndfile1)");
    find(library, "sf_open_virtual", open_virtual);
    find(library, "sf_readf_float", read);
    find(library, "sf_close", close);
    find(library, "sf_strerror", error);
  }
  template <class Function> static void find(void *library, const char *name, Function &function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (!function) throw Error(std::string("the libsndfile on this system has no ") + name);
  }
};

// A file in memory, as libsndfile reads it.
struct Memory {
  const char *data;
  sf_count_t length, at = 0;

  static sf_count_t size(void *self) { return static_cast<Memory *>(self)->length; }
  static sf_count_t tell(void *self) { return static_cast<Memory *>(self)->at; }
  static sf_count_t seek(sf_count_t offset, int from, void *self) {
    auto *memory = static_cast<Memory *>(self);
    const sf_count_t start = from == SEEK_SET ? 0 : from == SEEK_CUR ? memory->at : memory->length;
    return memory->at = std::clamp<sf_count_t>(start + offset, 0, memory->length);
  }
  static sf_count_t read(void *to, sf_count_t count, void *self) {
    auto *memory = static_cast<Memory *>(self);
    count = std::clamp<sf_count_t>(count, 0, memory->length - memory->at);
    std::memcpy(to, memory->data + memory->at, size_t(count));
    memory->at += count;
    return count;
  }
  static sf_count_t write(const void *, sf_count_t, void *) { return 0; }
};

// How many samples are left when what follows holds next to nothing.
size_t heard(const std::vector<std::vector<float>> &channels) {
  double all = 0, rest = 0;
  for (const auto &channel : channels)
    for (float x : channel) all += double(x) * x;
  size_t length = channels[0].size();
  for (; length > 1; length--) {
    for (const auto &channel : channels) rest += double(channel[length - 1]) * channel[length - 1];
    if (rest > kNothing * all) break;
  }
  return length;
}

// The power that pink noise from 50 Hz to 10 kHz has after it, over that before: the mean over frequencies at equal
// intervals, 24 to the octave.
double pink_gain(const std::vector<float> &channel, double rate) {
  constexpr int kAtOnce = 8;  // frequencies, as none of them depends on another
  const double most = std::min(10000., 0.45 * rate);
  double sum = 0, frequency = 50;
  int count = 0;
  while (frequency <= most) {
    double turn_re[kAtOnce], turn_im[kAtOnce], re[kAtOnce] = {}, im[kAtOnce] = {};
    int used = 0;
    for (int k = 0; k < kAtOnce; k++, frequency *= std::pow(2, 1. / 24)) {
      const double angle = -2 * 3.14159265358979323846 * frequency / rate;
      turn_re[k] = std::cos(angle), turn_im[k] = std::sin(angle);
      used += frequency <= most;
    }
    for (size_t i = channel.size(); i-- > 0;)
      for (int k = 0; k < kAtOnce; k++) {
        const double r = re[k] * turn_re[k] - im[k] * turn_im[k] + double(channel[i]);
        im[k] = re[k] * turn_im[k] + im[k] * turn_re[k], re[k] = r;
      }
    for (int k = 0; k < used; k++) sum += re[k] * re[k] + im[k] * im[k];
    count += used;
  }
  return sum / count;
}

}  // namespace

bool is_sound_file(const char *data, size_t length) {
  for (const char *start : {"RIFF", "RF64", "FORM", "fLaC"})
    if (length >= 4 && !std::memcmp(data, start, 4)) return true;
  return false;
}

std::shared_ptr<AmpModel> read_sound_file(const char *data, size_t length) {
  static const Library library;
  SF_VIRTUAL_IO access{Memory::size, Memory::seek, Memory::read, Memory::write, Memory::tell};
  Memory memory{data, sf_count_t(length)};
  SF_INFO about{};
  SNDFILE *file = library.open_virtual(&access, SFM_READ, &about, &memory);
  if (!file) throw Error(std::string("it cannot be read as a sound file: ") + library.error(nullptr));
  const std::unique_ptr<SNDFILE, decltype(library.close)> closes(file, library.close);
  if (about.frames > kMaxFrames)
    throw Error("the impulse response is longer than " + std::to_string(kMaxFrames) + " samples");
  if (about.channels < 1 || about.channels > kMaxFileChannels)
    throw Error("it has " + std::to_string(about.channels) + " channels, at most " + std::to_string(kMaxFileChannels));
  check_ir_rate(about.samplerate);
  std::vector<float> frames(size_t(std::max<sf_count_t>(about.frames, 0)) * size_t(about.channels));
  const sf_count_t got = library.read(file, frames.data(), std::max<sf_count_t>(about.frames, 0));
  if (got < 1) throw Error("it is a sound file without samples");

  std::vector<std::vector<float>> channels(size_t(std::min(about.channels, 2)), std::vector<float>(size_t(got)));
  for (size_t c = 0; c < channels.size(); c++)
    for (size_t i = 0; i < size_t(got); i++) {
      channels[c][i] = frames[i * size_t(about.channels) + c];
      if (!std::isfinite(channels[c][i])) throw Error("sample " + std::to_string(i) + " is not finite");
    }
  const size_t left = heard(channels);
  double power = 0;
  for (auto &channel : channels) {
    channel.resize(left);
    power += pink_gain(channel, about.samplerate) / double(channels.size());
  }
  if (!(power > 0)) throw Error("it is silent");
  for (auto &channel : channels)
    for (float &x : channel) x = float(x / std::sqrt(power));

  auto model = impulse_response(std::move(channels), about.samplerate);
  model->info["metadata"] = {{"channels", about.channels}, {"normalised_by_db", -10 * std::log10(power)}};
  if (about.channels > 2)
    model->warn("it has " + std::to_string(about.channels) + " channels, of which the first two are used");
  return model;
}

void prefer_sound_library(const char *path) { preferred = strdup(path); }

}  // namespace neurig
