// A Model is a file once read: immutable, shared by every stream that plays it. What changes while a stream plays is its
// State, a plain block of memory that the Model knows how to use: so a copy of the silent state is all it takes to make
// a new stream or to reset one.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "json.h"
#include "kernels.h"

namespace neurig {

// One plain sentence for the user; whoever knows the path puts it in front.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What a file may ask of us, whatever it says: larger is refused before anything is allocated. Reading one takes at most
// 512 MiB, and what comes of it at most 64 MiB, in all its sizes together, and as much again for each stream.
constexpr int64_t kMaxFileBytes = 64 << 20;
constexpr int64_t kMaxParts = 2 << 20;  // strings, lists and objects
constexpr int64_t kMaxNumbers = 8 << 20;
constexpr int64_t kMaxDepth = 64;       // of lists and objects within each other
constexpr int64_t kMaxStateFloats = 16 << 20;
constexpr int64_t kMaxCost = 16 << 20;  // of a sample (AmpModel::cost); as floats these are 64 MiB, too
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxChannels = 1024;

// Floats on a cache line's boundary, so that vectors never straddle two.
class Floats {
 public:
  Floats() = default;
  explicit Floats(size_t size) : size_(size) {
    if (!size) return;
    const size_t bytes = (size * sizeof(float) + 63) / 64 * 64;
    data_.reset(static_cast<float *>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
    std::memset(data_.get(), 0, bytes);
  }
  Floats(const Floats &other) : Floats(other.size_) { copy(other); }
  Floats(Floats &&) = default;
  Floats &operator=(Floats &&) = default;
  // Neither side allocates: the sizes are the same.
  void copy(const Floats &other) {
    if (size_) std::memcpy(data_.get(), other.data_.get(), size_ * sizeof(float));
  }
  float *data() const { return data_.get(); }
  size_t size() const { return size_; }
  float &operator[](size_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(float *p) const { std::free(p); }
  };
  std::unique_ptr<float[], Free> data_;
  size_t size_ = 0;
};

// One stream's memory: histories, LSTM cells and the like, with the positions of its write heads.
struct State {
  Floats data;
  std::vector<int> heads;
  bool exact = false;  // recurrent layers compute in double precision
  // [real time] both of the same model
  void copy(const State &other) {
    data.copy(other.data);
    for (size_t i = 0; i < heads.size(); i++) heads[i] = other.heads[i];
  }
};

// Hands out places in a State while a model is read.
struct Layout {
  int64_t floats = 0;
  std::vector<int> heads;
  int64_t take(int64_t size) {
    const int64_t place = floats;
    floats += (size + 15) / 16 * 16;
    if (floats > kMaxStateFloats)
      throw Error("the model needs more than " + std::to_string(kMaxStateFloats * 4 >> 20) + " MiB for each stream");
    return place;
  }
  int64_t rows(int channels) { return take(int64_t(channels) * kRow); }  // planar scratch
  State zeros() const { return {Floats(size_t(floats)), heads}; }
};

struct Param {
  std::string name;
  float low = 0, high = 1, preset = 0.5f;
};

class Model {
 public:
  virtual ~Model() = default;
  Json info;  // what neurig_model_info shows
  // Adds a sentence to what `info` warns of.
  void warn(const std::string &text) {
    info["warning"] = info.contains("warning") ? info["warning"].get<std::string>() + "; " + text : text;
  }
  std::string info_text;
  double rate = 0;
  std::vector<Param> params;
};

// What a maker may note of an amp's levels; NaN where it is not known.
struct Levels {
  double loudness = NAN;    // of the output for NAM's test signal, dB
  double input_dbu = NAN;   // the analog level that was digital full scale at the input, dBu
  double output_dbu = NAN;  // and at the output
};

// A model that turns a signal into a signal.
class AmpModel : public Model {
 public:
  // One channel's state after silence for ever: the same for every stream, made once when the model is read.
  State silent;
  // The work for a sample: multiply-adds as they are computed, with the zeros between groups, and kLayerCost for each
  // layer. Matrices are no larger than that.
  int64_t cost = 1;
  // The same for streams that compute exactly.
  virtual State silent_exactly() const { return silent; }
  // [real time] n ≤ kBlock frames; in and out may be the same memory. `knobs`: one value per param.
  virtual void process(State &state, const float *knobs, const float *in, float *out, int n) const = 0;
  // [real time] The same samples for several channels, at most kTogether.
  virtual void together(State *const *states, int channels, const float *knobs, const float *const *in,
                        float *const *out, int n) const {
    for (int k = 0; k < channels; k++) process(*states[k], knobs, in[k], out[k], n);
  }
  // This model made for another rate, where that is better than converting the signal; else nothing.
  virtual std::shared_ptr<const AmpModel> at_rate(double) const { return nullptr; }
  // Slimmer versions of this model, from the slimmest up: each serves sizes (0..1) below `below`, this one the rest.
  struct Size {
    double below;
    std::shared_ptr<const AmpModel> model;
  };
  std::vector<Size> slimmer;
  Levels levels;

 protected:
  // Fills in `silent` from a fresh state by `samples` of silence; by fewer where they would take seconds, which a model
  // that is one of several sizes must share.
  void prewarm(State fresh, int64_t samples, int sizes = 1);
  // The state after so many samples of silence, as far as these take no more than `work`.
  State warmed(State fresh, int64_t samples, int64_t work) const;
};

constexpr int64_t kLayerCost = 500;
// Refuses what no computer runs in time.
void check_cost(int64_t cost);

// Readers, one per family; each throws Error.
std::shared_ptr<Model> read_model(const char *text, size_t length);
// One of so many sizes of an amp; `rate`: where the file states none.
std::shared_ptr<AmpModel> read_nam(const Json &file, int sizes = 1, double rate = 48000);
std::shared_ptr<Model> read_mdrnn(const Json &file);
std::shared_ptr<AmpModel> read_rtneural(const Json &file);
std::shared_ptr<AmpModel> read_state_dict(const Json &file, const char *text, size_t length);
std::shared_ptr<AmpModel> read_gated_wavenet(const Json &file);
// Refuses a rate, in Hz, that no impulse response is taken at.
void check_ir_rate(double rate);
// One or two channels of equal length.
std::shared_ptr<AmpModel> impulse_response(std::vector<std::vector<float>> channels, double rate);
// A sound file as an impulse response; known by its first bytes.
bool is_sound_file(const char *data, size_t length);
std::shared_ptr<AmpModel> read_sound_file(const char *data, size_t length);
void prefer_sound_library(const char *path);

// The levels that a file's metadata states.
Levels levels_of(const Json &metadata);
// The sample rate that a file states, itself or in its metadata; 48000 Hz where it does not.
double rate_of(const Json &file, double otherwise = 48000);

}  // namespace neurig
