// From a file's text to a Model: what it is, is decided by what it says, not by its name.
#include <cmath>

#include "instance.h"

namespace neurig {
namespace {

// NaN and Infinity are not JSON, but Python writes them: say what is wrong rather than "syntax error".
std::string parse_error(const char *text, size_t length, const Json::parse_error &error) {
  const std::string all(text, length);
  for (const char *word : {"NaN", "Infinity"}) {
    const size_t at = all.find(word);
    if (at != std::string::npos && at + 2 >= error.byte - std::min<size_t>(error.byte, 12) && at <= error.byte + 12)
      return std::string("it contains ") + word + " at byte " + std::to_string(at) + ": the weights are not finite";
  }
  return "it is not valid JSON (at byte " + std::to_string(error.byte) + ")";
}

}  // namespace

void AmpModel::prewarm(State fresh, int64_t samples) {
  const FlushToZero flush;
  float nothing[kBlock] = {}, out[kBlock];
  std::vector<float> knobs;
  for (const Param &p : params) knobs.push_back(p.preset);
  for (; samples > 0; samples -= kBlock) process(fresh, knobs.data(), nothing, out, kBlock);
  for (size_t i = 0; i < fresh.data.size(); i++)
    if (!std::isfinite(fresh.data[i])) throw Error("its weights give no finite output, even for silence");
  silent = std::move(fresh);
}

std::shared_ptr<Model> read_model(const char *text, size_t length) {
  if (length == 0) throw Error("the file is empty");
  if (int64_t(length) > kMaxFileBytes) throw Error("the file is larger than " + std::to_string(kMaxFileBytes >> 20) + " MiB");
  Json file;
  try {
    file = Json::parse(text, text + length);
  } catch (const Json::parse_error &error) {
    throw Error(parse_error(text, length, error));
  } catch (const Json::exception &) {
    throw Error("it holds a number too large to be finite");
  }
  if (!file.is_object()) throw Error("it is JSON, but not a model: no object at the top");
  const std::string architecture = neurig::text(file, "architecture", "the file");
  std::shared_ptr<Model> model;
  if (architecture == "MDRNN") {
    model = read_mdrnn(file);
  } else {
    model = read_nam(file);
  }
  model->info["architecture"] = architecture;
  model->info["metadata"] = file.value("metadata", Json::object());
  return model;
}

}  // namespace neurig
