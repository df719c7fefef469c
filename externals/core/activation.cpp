#include "activation.h"

#include <cmath>

namespace neurig {
namespace {

float parameter(const Json &value, const char *name, float preset, const std::string &where) {
  if (!value.is_object() || !value.contains(name)) return preset;
  return float(number(value, name, where, -1e6, 1e6));
}

}  // namespace

ActivationSpec read_activation(const Json &value, int channels, const std::string &where) {
  static const std::pair<const char *, Activation> known[] = {
      {"Tanh", Activation::tanh},           {"Fasttanh", Activation::tanh},
      {"ReLU", Activation::relu},           {"LeakyReLU", Activation::leaky_relu},
      {"PReLU", Activation::leaky_relu},    {"Sigmoid", Activation::sigmoid},
      {"Hardtanh", Activation::hardtanh},   {"LeakyHardtanh", Activation::leaky_hardtanh},
      {"LeakyHardTanh", Activation::leaky_hardtanh}, {"SiLU", Activation::silu},
      {"Hardswish", Activation::hardswish}, {"Softsign", Activation::softsign},
      {"Softsigmoid", Activation::softsigmoid}, {"Identity", Activation::none}};
  if (!value.is_string() && !value.is_object()) throw Error(where + " must be a name, or an object with a \"type\"");
  // NAM's trainer calls it "name" under a WaveNet's post-stack head, everywhere else "type".
  const char *const key = value.is_object() && value.contains("name") && !value.contains("type") ? "name" : "type";
  const std::string name = value.is_string() ? value.get<std::string>() : text(value, key, where);
  ActivationSpec spec;
  const std::pair<const char *, Activation> *found = nullptr;
  for (const auto &entry : known)
    if (name == entry.first) found = &entry;
  if (!found) throw Error(where + " \"" + name + "\" is not known");
  spec.kind = found->second;
  switch (spec.kind) {
    case Activation::leaky_relu:
      spec.params.assign(size_t(channels), parameter(value, "negative_slope", 0.01f, where));
      if (value.is_object() && value.contains("negative_slopes")) {
        const Json &slopes = value["negative_slopes"];
        if (!slopes.is_array() || slopes.empty()) throw Error(where + ".negative_slopes must be a list of numbers");
        for (size_t c = 0; c < spec.params.size(); c++) {
          const Json &slope = slopes[c % slopes.size()];
          if (!slope.is_number()) throw Error(where + ".negative_slopes must be a list of numbers");
          spec.params[c] = slope.get<float>();
        }
      }
      break;
    case Activation::hardtanh:
    case Activation::leaky_hardtanh:
      spec.params = {parameter(value, "min_val", -1, where), parameter(value, "max_val", 1, where),
                     parameter(value, "min_slope", 0.01f, where), parameter(value, "max_slope", 0.01f, where)};
      break;
    default: break;
  }
  return spec;
}

}  // namespace neurig
