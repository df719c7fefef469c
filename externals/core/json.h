// Reading JSON fields with errors that a user can act on.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace neurig {

using Json = nlohmann::json;

// `where` names the place in the file, as "config.layers[0]".
const Json &field(const Json &object, const char *name, const std::string &where);
int64_t integer(const Json &object, const char *name, const std::string &where, int64_t low, int64_t high);
double number(const Json &object, const char *name, const std::string &where, double low, double high);
bool boolean(const Json &object, const char *name, const std::string &where, bool preset);
std::string text(const Json &object, const char *name, const std::string &where);
std::vector<int> integers(const Json &object, const char *name, const std::string &where, int64_t low, int64_t high);
// Nested lists with exactly these numbers of entries, of finite numbers (also as strings), as one row-major list.
std::vector<float> tensor(const Json &list, const std::vector<int64_t> &sizes, const std::string &where);

// Hands out a model file's weights in order, which are a list of numbers or, for short, a string: their float32, little end
// first, in base64. Complains when there are too few, too many, or one is no finite number.
// A copy begins again at the first.
class Weights {
 public:
  explicit Weights(const Json &file);
  Weights(const Weights &other) : values_(other.values_) {}
  // Before reading: exactly `expected` weights must be there.
  void expect(int64_t expected) const;
  float next();
  int64_t size() const { return static_cast<int64_t>(values_.size()); }

 private:
  std::vector<float> values_;
  size_t at_ = 0;
};

}  // namespace neurig
