#include "json.h"

#include <cmath>

#include "model.h"

namespace neurig {

const Json &field(const Json &object, const char *name, const std::string &where) {
  if (!object.is_object()) throw Error(where + " is not a JSON object");
  const auto found = object.find(name);
  if (found == object.end()) throw Error(where + " has no \"" + name + "\"");
  return *found;
}

static std::string range(int64_t low, int64_t high) { return std::to_string(low) + " to " + std::to_string(high); }

static int64_t checked_integer(const Json &value, const std::string &what, int64_t low, int64_t high) {
  const bool whole = value.is_number_integer() || (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
  if (!whole) throw Error(what + " must be a whole number");
  const double v = value.get<double>();
  if (!(v >= double(low) && v <= double(high))) throw Error(what + " is " + value.dump() + ", must be " + range(low, high));
  return static_cast<int64_t>(v);
}

int64_t integer(const Json &object, const char *name, const std::string &where, int64_t low, int64_t high) {
  return checked_integer(field(object, name, where), where + "." + name, low, high);
}

double number(const Json &object, const char *name, const std::string &where, double low, double high) {
  const Json &value = field(object, name, where);
  const std::string what = where + "." + name;
  if (!value.is_number()) throw Error(what + " must be a number");
  const double v = value.get<double>();
  if (!(v >= low && v <= high)) throw Error(what + " is " + value.dump() + ", out of range");
  return v;
}

bool boolean(const Json &object, const char *name, const std::string &where, bool preset) {
  if (!object.contains(name)) return preset;
  const Json &value = object[name];
  if (!value.is_boolean()) throw Error(where + "." + name + " must be true or false");
  return value.get<bool>();
}

std::string text(const Json &object, const char *name, const std::string &where) {
  const Json &value = field(object, name, where);
  if (!value.is_string()) throw Error(where + "." + name + " must be a string");
  return value.get<std::string>();
}

std::vector<int> integers(const Json &object, const char *name, const std::string &where, int64_t low, int64_t high) {
  const Json &list = field(object, name, where);
  const std::string what = where + "." + name;
  if (!list.is_array() || list.empty()) throw Error(what + " must be a list of whole numbers");
  if (int64_t(list.size()) > kMaxLayers) throw Error(what + " has " + std::to_string(list.size()) + " entries, at most " + std::to_string(kMaxLayers));
  std::vector<int> values;
  for (const Json &value : list) values.push_back(int(checked_integer(value, what, low, high)));
  return values;
}

Weights::Weights(const Json &file) {
  const Json &list = field(file, "weights", "the file");
  if (!list.is_array()) throw Error("weights must be a list of numbers");
  values_.reserve(list.size());
  for (const Json &value : list) {
    const std::string what = "weight " + std::to_string(values_.size());
    if (value.is_null()) throw Error(what + " is null (NaN when it was written)");
    if (!value.is_number()) throw Error(what + " is not a number");
    const float v = value.get<float>();
    if (!std::isfinite(v)) throw Error(what + " is not finite");
    values_.push_back(v);
  }
}

void Weights::expect(int64_t expected) const {
  if (expected != size())
    throw Error("expected " + std::to_string(expected) + " weights, found " + std::to_string(size()));
}

float Weights::next() {
  if (at_ >= values_.size()) throw Error("too few weights: found " + std::to_string(size()));
  return values_[at_++];
}

}  // namespace neurig
