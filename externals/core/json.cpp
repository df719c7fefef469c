#include "json.h"

#include <charconv>
#include <cmath>
#include <cstring>

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
  const double v = value.is_number() ? value.get<double>() : NAN;
  if (!value.is_number_integer() && std::floor(v) != v) throw Error(what + " must be a whole number");
  if (!(v >= double(low) && v <= double(high)))
    throw Error(what + " is " + value.dump() + ", must be " + range(low, high));
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
  if (int64_t(list.size()) > kMaxLayers)
    throw Error(what + " has " + std::to_string(list.size()) + " entries, at most " + std::to_string(kMaxLayers));
  std::vector<int> values;
  for (const Json &value : list) values.push_back(int(checked_integer(value, what, low, high)));
  return values;
}

// A weight is a finite number; some files hold it as a string. Returns what is wrong, or nothing.
static const char *read_weight(const Json &value, float &weight) {
  if (value.is_null()) return " is null (NaN when it was written)";
  if (value.is_string()) {
    const std::string &text = value.get_ref<const std::string &>();
    double v = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error != std::errc() || end != text.data() + text.size()) return " is not a number";
    weight = float(v);
  } else if (value.is_number()) {
    weight = value.get<float>();
  } else {
    return " is not a number";
  }
  return std::isfinite(weight) ? nullptr : " is not finite";
}

// Appends the part of a tensor whose sizes begin at `depth`.
static void append(std::vector<float> &values, const Json &part, const std::vector<int64_t> &sizes, size_t depth,
                   const std::string &where) {
  const bool innermost = depth + 1 == sizes.size();
  const std::string wanted = std::to_string(sizes[depth]) + (innermost ? " numbers" : " lists");
  if (!part.is_array()) throw Error(where + " must be a list of " + wanted);
  if (int64_t(part.size()) != sizes[depth])
    throw Error(where + " must have " + wanted + ", it has " + std::to_string(part.size()));
  for (size_t i = 0; i < part.size(); i++) {
    if (!innermost) {
      append(values, part[i], sizes, depth + 1, where + "[" + std::to_string(i) + "]");
    } else {
      float value = 0;
      if (const char *wrong = read_weight(part[i], value)) throw Error(where + "[" + std::to_string(i) + "]" + wrong);
      values.push_back(value);
    }
  }
}

std::vector<float> tensor(const Json &list, const std::vector<int64_t> &sizes, const std::string &where) {
  std::vector<float> values;
  append(values, list, sizes, 0, where);
  return values;
}

// What base64 stands for: four characters for three bytes, of which the last ones may be missing.
static std::vector<unsigned char> base64(const std::string &text) {
  constexpr const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  int8_t values[256];
  std::fill_n(values, 256, int8_t(-1));
  for (int i = 0; i < 64; i++) values[static_cast<unsigned char>(digits[i])] = int8_t(i);
  size_t length = text.size();
  while (length && text[length - 1] == '=' && text.size() - length < 2) length--;
  std::vector<unsigned char> bytes;
  bytes.reserve(length / 4 * 3 + 2);
  uint32_t bits = 0;
  for (size_t i = 0; i < length; i++) {
    const int8_t value = values[static_cast<unsigned char>(text[i])];
    if (value < 0) throw Error("weights are not base64 at character " + std::to_string(i));
    bits = bits << 6 | uint32_t(value);
    if (i % 4) bytes.push_back(static_cast<unsigned char>(bits >> (6 - 2 * (i % 4))));
  }
  return bytes;
}

Weights::Weights(const Json &file) {
  const Json &list = field(file, "weights", "the file");
  if (list.is_string()) {
    const std::vector<unsigned char> bytes = base64(list.get_ref<const std::string &>());
    if (bytes.size() % sizeof(float)) throw Error("weights must be whole numbers of four bytes in base64");
    values_.resize(bytes.size() / sizeof(float));
    for (size_t i = 0; i < values_.size(); i++) {
      uint32_t word = 0;
      for (size_t byte = sizeof(float); byte-- > 0;) word = word << 8 | bytes[sizeof(float) * i + byte];
      std::memcpy(&values_[i], &word, sizeof(float));
      if (!std::isfinite(values_[i])) throw Error("weight " + std::to_string(i) + " is not finite");
    }
    return;
  }
  if (!list.is_array()) throw Error("weights must be a list of numbers");
  values_.reserve(list.size());
  for (const Json &value : list) {
    float v = 0;
    if (const char *wrong = read_weight(value, v)) throw Error("weight " + std::to_string(values_.size()) + wrong);
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
