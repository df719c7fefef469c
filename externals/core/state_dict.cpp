// PyTorch's state_dict as JSON. GuitarML (Proteus, Automated-GuitarAmpModelling) puts one under "state_dict" and says
// in "model_data" what it belongs to; RTNeural's examples are a bare one. Shapes tell what each module P is:
//   P.weight_ih_l0 and so on: LSTM (four gates: i f g o) or GRU (three: r z n)
//   P.weight: Linear [out][in] or Conv1d [out][in][tap]
#include <algorithm>

#include "sequential.h"

namespace neurig {
namespace {

constexpr int64_t kMaxKernel = 1 << 20, kMaxNames = 16 * kMaxLayers;

std::vector<int64_t> shape_of(const Json &list, size_t axes, const std::string &where) {
  std::vector<int64_t> shape;
  for (const Json *part = &list; shape.size() < axes; part = &(*part)[0]) {
    if (!part->is_array() || part->empty())
      throw Error(where + " must be lists of numbers, " + std::to_string(axes) + " deep");
    shape.push_back(int64_t(part->size()));
  }
  return shape;
}

void check_channels(int64_t n, const std::string &where) {
  if (n > kMaxChannels)
    throw Error(where + " has " + std::to_string(n) + " channels, at most " + std::to_string(kMaxChannels));
}

class ModuleReader {
 public:
  ModuleReader(const Json &dict, std::string where) : dict_(dict), where_(std::move(where)) {}

  // How many inputs a module takes: where it is the first, these are the model's.
  int inputs_of(const std::string &prefix) const {
    const bool recurrent = dict_.contains(prefix + "weight_ih_l0");
    const std::string name = prefix + (recurrent ? "weight_ih_l0" : "weight");
    const int64_t n = shape_of(field(dict_, name.c_str(), where_), 2, name)[1];
    if (n > kMaxInputs)
      throw Error(name + " takes " + std::to_string(n) + " inputs, at most " + std::to_string(kMaxInputs));
    return int(n);
  }

  // Adds a module to the stack; returns a word or two about it.
  std::string read(const std::string &prefix, Sequential &stack) const {
    std::string text;
    if (!dict_.contains(prefix + "weight_ih_l0")) return linear(prefix, stack);
    for (int l = 0; l == 0 || dict_.contains(prefix + "weight_ih_l" + std::to_string(l)); l++) {
      if (l == 64) throw Error(prefix + " has more than 64 layers");
      text += (l ? ", " : "") + recurrent(prefix, "_l" + std::to_string(l), stack);
    }
    return text;
  }

 private:
  const Json &dict_;
  const std::string where_;

  std::vector<float> numbers(const std::string &name, const std::vector<int64_t> &sizes) const {
    return tensor(field(dict_, name.c_str(), where_), sizes, name);
  }
  std::vector<float> bias(const std::string &name, int64_t size) const {
    return dict_.contains(name) ? numbers(name, {size}) : std::vector<float>(size_t(size), 0.f);
  }

  std::string recurrent(const std::string &prefix, const std::string &layer, Sequential &stack) const {
    const std::string name = prefix + "weight_hh" + layer;
    if (dict_.contains(name + "_reverse")) throw Error(name + "_reverse: a layer that runs backwards cannot play live");
    const std::vector<int64_t> shape = shape_of(field(dict_, name.c_str(), where_), 2, name);
    check_channels(shape[1], name);
    const int ins = stack.channels(), units = int(shape[1]), gates = int(shape[0] / units);
    if (shape[0] % units || (gates != 3 && gates != 4))
      throw Error(name + " has " + std::to_string(shape[0]) + " rows of " + std::to_string(units) +
                  "; an LSTM has four times as many, a GRU three times");
    const int64_t rows = shape[0];
    const std::vector<float> ih = numbers(prefix + "weight_ih" + layer, {rows, ins}), hh = numbers(name, {rows, units});
    const std::vector<float> b = bias(prefix + "bias_ih" + layer, rows), c = bias(prefix + "bias_hh" + layer, rows);
    const auto weight = [&](int row, int gate, int unit) {
      const size_t from = size_t(gate) * units + unit;
      return row < ins ? ih[from * ins + row] : hh[from * units + size_t(row - ins)];
    };
    if (gates == 4) {
      stack.recurrent(Cell::lstm, units, weight, [&](int gate, int unit) {
        return b[size_t(gate) * units + unit] + c[size_t(gate) * units + unit];
      });
      return "LSTM " + std::to_string(units);
    }
    stack.recurrent(Cell::gru, units, weight, [&](int gate, int unit) {
      const size_t at = size_t(gate) * units + unit;
      return gate < 2 ? b[at] + c[at] : gate == 2 ? b[at] : c[at - size_t(units)];
    });
    return "GRU " + std::to_string(units);
  }

  std::string linear(const std::string &prefix, Sequential &stack) const {
    const std::string name = prefix + "weight";
    const Json &list = field(dict_, name.c_str(), where_);
    const bool conv =
        list.is_array() && !list.empty() && list[0].is_array() && !list[0].empty() && list[0][0].is_array();
    const std::vector<int64_t> shape = shape_of(list, conv ? 3 : 2, name);
    check_channels(shape[0], name);
    const int outs = int(shape[0]), ins = stack.channels();
    if (!conv) {
      const std::vector<float> w = numbers(name, {outs, ins});
      stack.dense(outs, [&](int o, int i, int) { return w[size_t(o) * ins + i]; }, bias(prefix + "bias", outs));
      return "dense " + std::to_string(outs);
    }
    const int64_t share = shape[1], kernel = shape[2];
    if (kernel > kMaxKernel) throw Error(name + " has too many taps");
    if (ins % share || outs % (ins / share))
      throw Error(name + " takes " + std::to_string(share) + " channels of the " + std::to_string(ins) +
                  " there are: they are no groups");
    const std::vector<float> w = numbers(name, {outs, share, kernel});
    stack.conv(
        outs, int(kernel), 1, int(ins / share),
        [&](int o, int i, int tap) { return w[(size_t(o) * share + i) * kernel + tap]; }, bias(prefix + "bias", outs));
    return "conv1d " + std::to_string(outs);
  }
};

// The names in a state_dict in the order of the file, which is that of the network; Json sorts them.
std::vector<std::string> names_in_order(const char *text, size_t length, bool inside) {
  std::vector<std::string> names;
  std::string outer;
  const auto note = [&](int depth, Json::parse_event_t event, const Json &key) {
    if (event != Json::parse_event_t::key) return false;  // nothing is kept
    if (depth == 1 && inside) outer = key.get<std::string>();
    if (depth == (inside ? 2 : 1) && (!inside || outer == "state_dict")) names.push_back(key.get<std::string>());
    return false;
  };
  [[maybe_unused]] const Json all = Json::parse(text, text + length, note);
  if (int64_t(names.size()) > kMaxNames)
    throw Error("state_dict has more than " + std::to_string(kMaxNames) + " entries");
  return names;
}

// The modules of a bare state_dict.
std::vector<std::string> modules(const std::vector<std::string> &names) {
  std::vector<std::string> found;
  const auto ends_with = [](const std::string &name, const std::string &end) {
    return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
  };
  for (const std::string &name : names) {
    const size_t dot = name.rfind('.');
    const std::string prefix = dot == std::string::npos ? "" : name.substr(0, dot + 1),
                      last = name.substr(prefix.size());
    const bool known = last == "weight" || last == "bias" || last.rfind("weight_ih_l", 0) == 0 ||
                       last.rfind("weight_hh_l", 0) == 0 || last.rfind("bias_ih_l", 0) == 0 ||
                       last.rfind("bias_hh_l", 0) == 0;
    if (!known || ends_with(last, "_reverse"))
      throw Error("\"" + name + "\" belongs to no LSTM, GRU, Linear or Conv1d");
    if (std::find(found.begin(), found.end(), prefix) == found.end()) found.push_back(prefix);
    if (int64_t(found.size()) > kMaxLayers) throw Error("more than " + std::to_string(kMaxLayers) + " modules");
  }
  return found;
}

// What "model_data" says must be what the weights are.
void check_model_data(const Json &about, const Json &dict) {
  const auto check = [&dict](const std::string &name, int64_t rows, int64_t columns) {
    const std::vector<int64_t> shape = shape_of(field(dict, name.c_str(), "state_dict"), 2, name);
    if (shape[0] != rows || shape[1] != columns)
      throw Error(name + " is " + std::to_string(shape[0]) + " × " + std::to_string(shape[1]) +
                  ", by model_data it is " + std::to_string(rows) + " × " + std::to_string(columns));
  };
  const std::string where = "model_data", unit = text(about, "unit_type", where);
  if (unit != "LSTM" && unit != "GRU") throw Error("model_data.unit_type is \"" + unit + "\"; LSTM and GRU are known");
  const int64_t units = integer(about, "hidden_size", where, 1, kMaxChannels), gates = unit == "LSTM" ? 4 : 3;
  const int64_t layers = about.contains("num_layers") ? integer(about, "num_layers", where, 1, 64) : 1;
  int64_t inputs = integer(about, "input_size", where, 1, kMaxInputs);
  for (int64_t l = 0; l < layers; l++, inputs = units) {
    check("rec.weight_ih_l" + std::to_string(l), gates * units, inputs);
    check("rec.weight_hh_l" + std::to_string(l), gates * units, units);
  }
  const std::string beyond = "rec.weight_ih_l" + std::to_string(layers);
  if (dict.contains(beyond))
    throw Error("model_data.num_layers is " + std::to_string(layers) + ", but there is " + beyond);
  check("lin.weight", about.contains("output_size") ? integer(about, "output_size", where, 1, kMaxChannels) : 1, units);
}

}  // namespace

std::shared_ptr<AmpModel> read_state_dict(const Json &file, const char *text_, size_t length) {
  const bool inside = file.contains("state_dict"), guitarml = file.contains("model_data");
  const Json &dict = inside ? file["state_dict"] : file;
  if (!dict.is_object()) throw Error("state_dict is not a JSON object");
  std::vector<std::string> order{"rec.", "lin."};
  bool skip = false;
  if (guitarml) {
    const Json &about = file["model_data"];
    const std::string kind = text(about, "model", "model_data");
    if (kind != "SimpleRNN") throw Error("model_data.model is \"" + kind + "\"; SimpleRNN is known");
    check_model_data(about, dict);
    skip = about.contains("skip") && integer(about, "skip", "model_data", 0, 1) == 1;
  } else {
    order = modules(names_in_order(text_, length, inside));
  }
  if (order.empty()) throw Error("state_dict holds no weights");
  const ModuleReader reader(dict, inside ? "state_dict" : "the file");
  auto model = std::make_shared<Sequential>(reader.inputs_of(order[0]));
  std::string architecture;
  bool linear_before = false;
  for (const std::string &prefix : order) {
    const bool linear = !dict.contains(prefix + "weight_ih_l0");
    if (linear && linear_before)
      throw Error("what stands between \"" + prefix + "weight\" and the module before it is not in the file");
    architecture += (architecture.empty() ? "" : ", ") + reader.read(prefix, *model);
    linear_before = linear;
  }
  model->skip = skip;
  model->rate = rate_of(file);
  model->info["family"] = guitarml ? "GuitarML" : "PyTorch";
  model->info["architecture"] = architecture;
  model->finish();
  return model;
}

}  // namespace neurig
