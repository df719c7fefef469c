// Files that are almost right: each goes through the reader and, where it loads, through everything that can be done
// with a model. Built with sanitizers, in two ways:
//   with libFuzzer (tests/core/fuzz.py), which searches by coverage;
//   as a program of its own: `fuzz SECONDS SEED FILE…` changes the given files at random, `fuzz 0 0 FILE…` takes them
//   as they are (tests/core/test_fuzz.py). A failure's input is left in the file "failed-input".
#include <sanitizer/common_interface_defs.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "neurig.h"

namespace {

// Keeps a member's place in the file, as the order of some files counts.
using Json = nlohmann::ordered_json;
using Random = std::minstd_rand;

void must(bool holds, const char *what) {
  if (holds) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::abort();
}

constexpr double kPatience = 20;  // seconds of CPU for all that is done with a file, with sanitizers

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
constexpr float kOddValues[] = {0.5f, 0, 1, -1, 2, -3e38f, 3e38f, kNan, kInfinity, -kInfinity, 1e-40f};

void play(neurig_model *model, double rate, int quality, int most, int channels = 1, int exact = 0) {
  char error[200];
  neurig_instance *instance = neurig_instance_new_channels(model, rate, quality, channels, exact, error, sizeof error);
  if (!instance) return must(*error, "an instance is refused without a reason");
  must(neurig_instance_latency(instance) >= 0, "the latency is negative");
  std::vector<float> x(size_t(333 * channels));
  for (size_t i = 0; i < x.size(); i++) x[i] = std::sin(float(i) * 0.1f);
  size_t odd = 0;
  for (const int block : {0, 1, 7, 64, 65, 333}) {
    neurig_instance_process(instance, x.data(), x.data(), std::min(block, most));
    for (int p = -1; p <= neurig_model_params(model); p++)
      neurig_instance_set_param(instance, p, kOddValues[odd++ % std::size(kOddValues)]);
    neurig_instance_set_slim(instance, kOddValues[odd++ % std::size(kOddValues)]);
    const float slim = neurig_instance_slim(instance);
    must(slim >= 0 && slim <= 1, "a size is out of range");
    if (block == 65) neurig_instance_reset(instance);
    if (block == 7) x[5] = 3e38f, x[6] = kNan;
  }
  neurig_amp *amp = neurig_amp_new_channels(rate, channels);
  neurig_amp_swap(amp, instance);
  std::fill(x.begin(), x.end(), 0.f);
  for (const int level : {NEURIG_LEVEL_NORMALISED, NEURIG_LEVEL_CALIBRATED}) {
    neurig_amp_set(amp, NEURIG_AMP_LEVEL, float(level));
    neurig_amp_process(amp, x.data(), x.data(), std::min(64, most));
    must(neurig_amp_level(amp) <= level, "a level is above the one asked for");
  }
  neurig_amp_free(amp);
}

void perform(neurig_model *model) {
  neurig_predictor *predictor = neurig_predictor_new(model, 1, nullptr, 0);
  must(predictor, "a predictor is refused");
  const size_t dimension = size_t(neurig_predictor_dimension(predictor));
  const size_t mixtures = size_t(neurig_predictor_mixtures(predictor));
  std::vector<float> frame(dimension, 0.5f), mus(dimension * mixtures), sigmas(mus), logits(mixtures);
  for (const float odd : kOddValues) {
    neurig_predictor_condition(predictor, frame.data());
    neurig_predictor_predict(predictor, odd, odd, frame.data());
    neurig_predictor_predict(predictor, 1, 0.1f, frame.data());
    neurig_predictor_sample(predictor, odd, odd, frame.data());
    neurig_predictor_mixture(predictor, mus.data(), sigmas.data(), logits.data());
    frame.back() = odd;
  }
  neurig_predictor_seed(predictor, 3);
  neurig_predictor_reset(predictor);
  neurig_predictor_free(predictor);
}

void read(const char *text, size_t size) {
  char error[200] = "";
  const std::vector<char> exactly(text, text + size);  // so that one byte too far is seen
  neurig_model *model = neurig_model_parse(exactly.data(), int64_t(size), error, sizeof error);
  if (!model) return must(*error, "a file is refused without a reason");
  must(!*error, "a file is read, and there is an error");
  const Json info = Json::parse(neurig_model_info(model));
  must(neurig_model_rate(model) >= 0 && neurig_model_sizes(model) >= 1, "rate or sizes out of range");
  const int knobs = neurig_model_params(model);
  for (int p = 0; p < knobs; p++) must(neurig_model_param_name(model, p), "a knob has no name");
  must(!neurig_model_param_name(model, -1) && !neurig_model_param_name(model, knobs), "a knob too many");
  if (neurig_model_is_predictor(model)) {
    perform(model);
  } else {
    const int most = int(1e8 / (info.at("macs").get<double>() + 1e5)) + 1;
    play(model, 48000, 1, most);
    play(model, 44100, 0, most, 3);
    play(model, 48000, 1, most / 30, 1, 1);
    if (neurig_model_rate(model) < 2000) play(model, 1e6, 2, 0);  // refused, as these rates are too far apart
  }
  neurig_model_release(model);
}

// ---- Changing files ------------------------------------------------------------------------------------------------

Json odd_value(Random &random) {
  switch (random() % 16) {
    case 0: return nullptr;
    case 1: return random() % 2 == 0;
    case 2: return "x";
    case 3: return Json::array();
    case 4: return Json::object();
    case 5: return -1;
    case 6: return 0;
    case 7: return 1024;
    case 8: return 1 << 20;
    case 9: return int64_t(1) << random() % 63;
    case 10: return 1e300;
    case 11: return 0.5;
    default: return random() % 9;
  }
}

// Any part of the file but the single weights, which are too many to be hit by chance alone.
Json *some_part(Json &top, Random &random) {
  Json *part = &top;
  while (part->is_structured() && !part->empty() && (part == &top || random() % 4)) {
    auto next = part->begin();
    std::advance(next, random() % part->size());
    part = &*next;
  }
  return part;
}

// Where a model says how many weights it expects, gives it so many, if they are not too many.
void give_weights(Json &model, Random &random) {
  if (!model.is_object()) return;
  if (model.contains("config") && model["config"].is_object()) {
    if (model["config"].contains("condition_dsp")) give_weights(model["config"]["condition_dsp"], random);
    if (model["config"].contains("submodels") && model["config"]["submodels"].is_array())
      for (Json &entry : model["config"]["submodels"])
        if (entry.is_object() && entry.contains("model")) give_weights(entry["model"], random);
  }
  const std::string text = model.dump(-1, ' ', false, Json::error_handler_t::replace);
  char error[200];
  neurig_model_release(neurig_model_parse(text.data(), int64_t(text.size()), error, sizeof error));
  long wanted = 0;
  if (std::sscanf(error, "expected %ld weights", &wanted) != 1 || wanted < 0 || wanted > 20000) return;
  Json &weights = model["weights"];
  if (!weights.is_array()) weights = Json::array();
  while (weights.size() > size_t(wanted)) weights.erase(weights.size() - 1);
  while (weights.size() < size_t(wanted)) weights.push_back(double(random() % 2001) / 1000 - 1);
}

std::string changed_parts(const std::string &text, Random &random) {
  if (std::count(text.begin(), text.end(), '[') > 3000) return text;  // perhaps too deep for what follows
  Json file = Json::parse(text, nullptr, false);
  if (file.is_discarded()) return text;
  for (int changes = 1 + int(random() % 3); changes > 0; changes--) {
    Json *part = some_part(file, random), *other = some_part(file, random);
    switch (random() % 8) {
      case 0:
        if (part->is_array()) part->push_back(part->empty() ? odd_value(random) : part->back());
        else *part = odd_value(random);
        break;
      case 1:
        if (part->is_structured() && !part->empty())
          part->erase(std::next(part->begin(), long(random() % part->size())));
        break;
      case 2:
        if (part->is_number()) *part = part->get<double>() + (random() % 2 ? 1 : -1);
        break;
      case 3:
        if (part->is_number()) *part = part->get<double>() * (random() % 2 ? 2 : 0.5);
        break;
      case 4: *part = Json(*other); break;
      case 5: *part = Json::array({Json(*part)}); break;
      default: *part = odd_value(random);
    }
    const double number = part->is_number_float() ? part->get<double>() : 0.5;
    if (std::floor(number) == number && std::fabs(number) < 1e15) *part = int64_t(number);  // sizes stay whole
  }
  if (random() % 4) give_weights(file, random);
  return file.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string changed_bytes(std::string text, Random &random) {
  for (int changes = 1 + int(random() % 4); changes > 0 && !text.empty(); changes--) {
    const size_t at = random() % text.size();
    switch (random() % 4) {
      case 0: text[at] = char(random()); break;
      case 1: text.erase(at, 1 + random() % 20); break;
      case 2: text.insert(at, 1, "[]{}\",:-.0e9"[random() % 12]); break;
      default: text.insert(at, text.substr(random() % text.size(), random() % 40));
    }
  }
  return text;
}

}  // namespace

#ifdef LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static double slowest = 1;
  const double start = cpu_seconds();
  read(reinterpret_cast<const char *>(data), size);
  const double took = cpu_seconds() - start;
  if (took > slowest) {
    slowest = took;
    char name[32];
    std::snprintf(name, sizeof name, "slowest-%.1f", took);
    std::ofstream(name, std::ios::binary).write(reinterpret_cast<const char *>(data), long(size));
  }
  must(took < kPatience, "a file takes too long");
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  if (random() % 4 == 0) return LLVMFuzzerMutate(data, size, most);
  const std::string before(reinterpret_cast<char *>(data), size), text = changed_parts(before, random);
  if (text == before || text.size() > most) return LLVMFuzzerMutate(data, size, most);
  std::memcpy(data, text.data(), text.size());
  return text.size();
}

#else

static std::string current;  // what is being read

int main(int count, char **arguments) {
  if (count < 4) return std::fprintf(stderr, "usage: fuzz SECONDS SEED FILE...\n"), 2;
  __sanitizer_set_death_callback([] { std::ofstream("failed-input", std::ios::binary) << current; });
  const double end = cpu_seconds() + std::atof(arguments[1]);
  Random random(unsigned(std::atoi(arguments[2])) + 1);
  std::vector<std::string> files;
  for (int i = 3; i < count; i++) {
    std::ifstream file(arguments[i], std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  long runs = 0;
  double slowest = 0;
  const auto run = [&] {
    const double start = cpu_seconds();
    read(current.data(), current.size());
    runs++;
    if (cpu_seconds() - start <= slowest) return;
    slowest = cpu_seconds() - start;
    std::ofstream("slowest-input", std::ios::binary) << current;
  };
  for (const std::string &file : files) current = file, run();
  while (cpu_seconds() < end) {
    current = files[random() % files.size()];
    for (int changes = 1 + int(random() % 3); changes > 0; changes--)
      current = random() % 4 ? changed_parts(current, random) : changed_bytes(current, random);
    run();
  }
  std::printf("%ld runs, the slowest %.3f s\n", runs, slowest);
}

#endif
