// From a file's text to a Model: what it is, is decided by what it says, not by its name.
#include <cmath>
#include <cstring>

#include "instance.h"

namespace neurig {
namespace {

// Before anything is made of it: so much text could become forty times as much memory, or exhaust the stack.
void check_parts(const char *text, size_t length) {
  int64_t parts = 0, depth = 0, numbers = 0;
  bool quoted = false;
  for (size_t i = 0; i < length; i++) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') i++;
      quoted = c != '"';
    } else if (c == '"' || c == '[' || c == '{') {
      parts++;
      quoted = c == '"';
      depth += !quoted;
      if (depth > kMaxDepth) throw Error("its lists are nested more than " + std::to_string(kMaxDepth) + " deep");
    } else if (c == ']' || c == '}') {
      depth--;
    } else {
      numbers += c == ',';
    }
  }
  if (numbers > kMaxNumbers) throw Error("it has more than " + std::to_string(kMaxNumbers >> 20) + " million numbers");
  if (parts > kMaxParts) throw Error("it has more than " + std::to_string(kMaxParts >> 20) + " million parts");
}

// Files that only Python can read say so, rather than "not valid JSON".
void check_foreign(const char *data, size_t length) {
  const auto has = [&](size_t at, const char *word) {
    const size_t size = std::strlen(word);
    return length >= at + size && !std::memcmp(data + at, word, size);
  };
  const std::string way = ": `neurig convert` makes a file of it that plays here";
  if (has(0, "\x89" "HDF")) throw Error("this is an HDF5 file (Keras)" + way);
  if (has(0, "PK\3\4")) throw Error("this is an archive (Keras, PyTorch)" + way);
  if (has(4, "TFL3")) throw Error("this is a TensorFlow Lite file" + way);
  if (has(0, "\b")) throw Error("this is an ONNX file, which is played in Python and in the rig only");
}

// NaN and Infinity are not JSON, but Python writes them: say what is wrong rather than "syntax error".
std::string parse_error(const char *text, size_t length, const Json::parse_error &error) {
  const std::string all(text, length);
  const size_t first = all.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || !std::strchr("[{", all[first]) || !all[first])
    return "it is no model: neither JSON nor a WAV, FLAC or AIFF file";
  for (const char *word : {"NaN", "Infinity"}) {
    const size_t at = all.find(word);
    if (at != std::string::npos && at + 2 >= error.byte - std::min<size_t>(error.byte, 12) && at <= error.byte + 12)
      return std::string("it contains ") + word + " at byte " + std::to_string(at) + ": the weights are not finite";
  }
  return "it is not valid JSON (at byte " + std::to_string(error.byte) + ")";
}

// What names no architecture is known by what else it has.
std::shared_ptr<AmpModel> read_amp(const Json &file, const char *text, size_t length) {
  if (file.contains("layers") && file.contains("in_shape")) return read_rtneural(file);
  if (file.contains("dilations") && file.contains("variables")) return read_gated_wavenet(file);
  if (file.contains("state_dict")) return read_state_dict(file, text, length);
  for (const auto &[name, value] : file.items()) {
    const size_t dot = name.rfind('.') + 1;  // 0 where there is none
    const std::string last = name.substr(dot);
    if (value.is_array() && (last == "weight" || last == "weight_ih_l0")) return read_state_dict(file, text, length);
  }
  throw Error("it is JSON, but no model that is known: it has no \"architecture\" (NAM), no \"layers\" and "
              "\"in_shape\" (RTNeural, AIDA-X), no \"state_dict\" (GuitarML), no \"dilations\" and \"variables\" "
              "(WaveNetVA, PedalNetRT)");
}

}  // namespace

double rate_of(const Json &file, double otherwise) {
  const auto metadata = file.find("metadata");
  for (const Json *part : {&file, metadata == file.end() ? &file : &*metadata})
    for (const char *name : {"sample_rate", "samplerate"}) {
      if (!part->is_object() || !part->contains(name)) continue;
      Json value = (*part)[name];
      if (value.is_string()) value = Json::parse(value.get<std::string>(), nullptr, false);  // AIDA-X writes "48000"
      if (value.is_number()) return number({{name, value}}, name, "the file", 1000, 1e6);
    }
  return otherwise;
}

void check_cost(int64_t cost) {
  if (cost > kMaxCost)
    throw Error("the model takes more than " + std::to_string(kMaxCost >> 20) +
                " million multiplications for each sample");
}

State AmpModel::warmed(State state, int64_t samples, int64_t work) const {
  const FlushToZero flush;
  float nothing[kBlock] = {}, out[kBlock];
  std::vector<float> knobs;
  for (const Param &p : params) knobs.push_back(p.preset);
  for (samples = std::min(samples, work / cost); samples > 0; samples -= kBlock)
    process(state, knobs.data(), nothing, out, kBlock);
  return state;
}

void AmpModel::prewarm(State fresh, int64_t samples, int sizes) {
  silent = warmed(std::move(fresh), samples, int64_t(2e9) / sizes);
  for (size_t i = 0; i < silent.data.size(); i++)
    if (!std::isfinite(silent.data[i])) throw Error("its weights give no finite output, even for silence");
}

// As NAM's trainer writes them.
Levels levels_of(const Json &metadata) {
  const auto level = [&metadata](const char *name) {
    const bool stated = metadata.is_object() && metadata.contains(name) && metadata[name].is_number();
    const double value = stated ? metadata[name].get<double>() : NAN;
    return std::abs(value) <= 200 ? value : NAN;
  };
  return {level("loudness"), level("input_level_dbu"), level("output_level_dbu")};
}

// The file's own names for a network's inputs beside the signal, as neurig's trainer writes them.
void name_knobs(Model &model, const Json &metadata) {
  if (!metadata.is_object() || !metadata.contains("knobs")) return;
  const Json &names = metadata["knobs"];
  if (!names.is_array() || names.size() != model.params.size()) return;
  for (const Json &name : names)
    if (!name.is_string() || name.get_ref<const std::string &>().empty()) return;
  for (size_t i = 0; i < names.size(); i++) model.params[i].name = names[i].get<std::string>();
}

std::shared_ptr<Model> read_model(const char *text, size_t length) {
  if (length == 0 || int64_t(length) < 0) throw Error("the file is empty");
  if (int64_t(length) > kMaxFileBytes)
    throw Error("the file is larger than " + std::to_string(kMaxFileBytes >> 20) + " MiB");
  if (is_sound_file(text, length)) return read_sound_file(text, length);
  check_foreign(text, length);
  check_parts(text, length);
  Json file;
  try {
    file = Json::parse(text, text + length);
  } catch (const Json::parse_error &error) {
    throw Error(parse_error(text, length, error));
  } catch (const Json::exception &) {
    throw Error("it holds a number too large to be finite");
  }
  if (!file.is_object()) throw Error("it is JSON, but not a model: no object at the top");
  std::shared_ptr<Model> model;
  if (file.contains("architecture")) {
    const std::string architecture = neurig::text(file, "architecture", "the file");
    if (architecture == "MDRNN") model = read_mdrnn(file);
    else model = read_nam(file);
    model->info["family"] = architecture == "MDRNN" ? "IMPSY" : "NAM";
    model->info["architecture"] = architecture;
  } else {
    model = read_amp(file, text, length);
  }
  Json metadata = file.contains("metadata") ? std::move(file["metadata"]) : Json::object();
  if (auto amp = std::dynamic_pointer_cast<AmpModel>(model)) amp->levels = levels_of(metadata);
  name_knobs(*model, metadata);
  model->info["metadata"] = std::move(metadata);
  return model;
}

}  // namespace neurig
