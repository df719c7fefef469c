// Reads NAM's files (neural-amp-modeler, versions 0.5 to 0.7): one network, or several sizes of one amp.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "net.h"

namespace neurig {
namespace {

// A network as an amp: its first input is the signal, any further ones are knobs; its first output is heard.
class NetAmp : public AmpModel {
 public:
  NetAmp(std::unique_ptr<Net> net, double model_rate, int sizes) : net_(std::move(net)) {
    rate = model_rate;
    cost = net_->cost;
    for (int i = 1; i < net_->inputs; i++) params.push_back({"input " + std::to_string(i + 1)});
    in_ = layout_.rows(net_->inputs), out_ = layout_.rows(net_->outputs);
    net_->lay_out(layout_);
    info["macs"] = net_->macs;
    info["receptive_field"] = nullptr;  // where it remembers for ever
    if (net_->memory >= 0) info["receptive_field"] = net_->memory + 1;
    if (net_->outputs > 1) warn("it has " + std::to_string(net_->outputs) + " outputs; the first is heard");
    // A recurrent network takes half a second, as NAM's own engine does.
    const int64_t silence = net_->memory >= 0 ? net_->memory + 1 : int64_t(rate / 2);
    prewarm(fresh(false), net_->settled ? 0 : silence, sizes);
  }

  State silent_exactly() const override {
    return net_->memory >= 0 ? silent : warmed(fresh(true), int64_t(rate / 2), int64_t(5e8));
  }

  void process(State &state, const float *knobs, const float *in, float *out, int n) const override {
    State *const states[] = {&state};
    together(states, 1, knobs, &in, &out, n);
  }
  void together(State *const *states, int channels, const float *knobs, const float *const *in, float *const *out,
                int n) const override {
    const float *rows[kTogether];
    float *results[kTogether];
    for (int k = 0; k < channels; k++) {
      float *const row = states[k]->data.data() + in_;
      std::copy_n(in[k], n, row);
      for (int i = 1; i < net_->inputs; i++) std::fill_n(row + ptrdiff_t(i) * kRow, n, knobs[i - 1]);
      rows[k] = row, results[k] = states[k]->data.data() + out_;
    }
    net_->together(states, channels, rows, results, n);
    for (int k = 0; k < channels; k++) std::copy_n(results[k], n, out[k]);
  }

 private:
  State fresh(bool exact) const {
    State state = layout_.zeros();
    state.exact = exact;
    net_->start(state);
    return state;
  }

  std::unique_ptr<Net> net_;
  Layout layout_;
  int64_t in_ = 0, out_ = 0;
};

// The numbers of channels that each layer array of a slimmable WaveNet may have; only its own where it is not
// slimmable.
std::vector<std::vector<int>> allowed_channels(const Json &config) {
  std::vector<std::vector<int>> allowed;
  const Json &list = field(config, "layers", "config");
  if (!list.is_array()) throw Error("config.layers must be a list of layer arrays");
  for (const Json &array : list) {
    const std::string where = "config.layers[" + std::to_string(allowed.size()) + "]";
    const int channels = int(integer(array, "channels", where, 1, kMaxChannels));
    allowed.push_back({channels});
    if (!array.contains("slimmable") || !array["slimmable"].is_object()) continue;
    const std::string place = where + ".slimmable";
    const std::string method = text(array["slimmable"], "method", place);
    if (method != "slice_channels_uniform") throw Error(place + ".method \"" + method + "\" is not known");
    if (array["slimmable"].contains("kwargs") && array["slimmable"]["kwargs"].contains("allowed_channels")) {
      allowed.back() = integers(array["slimmable"]["kwargs"], "allowed_channels", place + ".kwargs", 1, channels);
    } else {  // any number
      allowed.back().resize(size_t(channels));
      std::iota(allowed.back().begin(), allowed.back().end(), 1);
    }
    const std::vector<int> &list_here = allowed.back();
    if (!std::is_sorted(list_here.begin(), list_here.end()) || list_here.back() != channels)
      throw Error(place + ".allowed_channels must rise to the array's channels");
  }
  return allowed;
}

// The sizes of an amp may together take what a single model may.
class Together {
 public:
  std::shared_ptr<AmpModel> with(std::shared_ptr<AmpModel> model) {
    check_cost(cost_ += model->cost);
    layout_.take(int64_t(model->silent.data.size()));
    return model;
  }

 private:
  int64_t cost_ = 0;
  Layout layout_;
};

std::shared_ptr<AmpModel> read_slimmable(const Json &file, double rate) {
  const Json &config = field(file, "config", "the file");
  const Weights weights(file);
  const auto allowed = allowed_channels(config);
  std::vector<double> bounds;  // where one array or another takes its next number of channels
  for (const auto &list : allowed)
    for (size_t i = 1; i < list.size(); i++) bounds.push_back(double(i) / double(list.size()));
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  if (bounds.size() >= 64) throw Error("the model has more than 64 sizes");
  const int sizes = int(bounds.size()) + 1;
  if (weights.size() * sizes > 4 * kMaxCost)
    throw Error("the model is too large for its " + std::to_string(sizes) + " sizes");

  Together together;
  const auto at = [&](double size) {
    std::vector<int> channels;
    for (const auto &list : allowed)
      channels.push_back(list[std::min(size_t(size * double(list.size())), list.size() - 1)]);
    return together.with(std::make_shared<NetAmp>(read_wavenet(config, weights, channels), rate, sizes));
  };
  auto amp = together.with(std::make_shared<NetAmp>(read_wavenet(config, weights), rate, sizes));
  double low = 0;
  for (const double bound : bounds) {
    amp->slimmer.push_back({bound, at((low + bound) / 2)});
    low = bound;
  }
  return amp;
}

const Json &submodels(const Json &container) {
  const Json &list = field(field(container, "config", "the file"), "submodels", "config");
  if (!list.is_array() || list.empty() || list.size() > 64)
    throw Error("config.submodels must be a list of 1 to 64 models");
  return list;
}

std::shared_ptr<AmpModel> read_container(const Json &file, double rate) {
  const Json &list = submodels(file);
  std::vector<AmpModel::Size> sizes;
  Together together;
  for (const Json &entry : list) {
    const std::string where = "config.submodels[" + std::to_string(sizes.size()) + "]";
    const double below = number(entry, "max_value", where, 0, 1e6);
    if (!sizes.empty() && below <= sizes.back().below)
      throw Error(where + ".max_value must be larger than the one before");
    const Json &inner = field(entry, "model", where);
    if (text(inner, "architecture", where + ".model") == "SlimmableContainer")
      throw Error(where + ".model is a container itself");
    try {
      sizes.push_back({below, together.with(read_nam(inner, int(list.size()), rate))});
    } catch (const Error &error) {
      throw Error("in " + where + ": " + error.what());
    }
    if (sizes.back().model->rate != sizes.front().model->rate)
      throw Error(where + " has another sample rate than the first");
    if (sizes.back().model->params.size() != sizes.front().model->params.size())
      throw Error(where + " has other inputs than the first");
  }
  // The largest is the amp, the others its slimmer versions.
  auto amp = std::const_pointer_cast<AmpModel>(sizes.back().model);
  sizes.pop_back();
  amp->slimmer = std::move(sizes);
  return amp;
}

}  // namespace

std::unique_ptr<Net> read_net(const Json &file) {
  const std::string architecture = text(file, "architecture", "the file");
  const auto config = [&file]() -> const Json & { return field(file, "config", "the file"); };
  if (architecture == "WaveNet") return read_wavenet(config(), Weights(file));
  if (architecture == "ConvNet") return read_convnet(config(), Weights(file));
  if (architecture == "LSTM") return read_lstm(config(), Weights(file));
  if (architecture == "Linear") return read_linear(config(), Weights(file));
  // Within another network it has no size but its largest.
  if (architecture == "SlimmableContainer") return read_net(field(submodels(file).back(), "model", "config.submodels"));
  throw Error("its architecture is \"" + architecture +
              "\"; WaveNet, ConvNet, LSTM, Linear, SlimmableContainer and MDRNN are known");
}

std::shared_ptr<AmpModel> read_nam(const Json &file, int sizes, double rate) {
  const std::string architecture = text(file, "architecture", "the file");
  rate = rate_of(file, rate);
  std::shared_ptr<AmpModel> amp;
  if (architecture == "SlimmableContainer") amp = read_container(file, rate);
  else if (architecture == "WaveNet" && sizes == 1) amp = read_slimmable(file, rate);
  else amp = std::make_shared<NetAmp>(read_net(file), rate, sizes);
  if (file.contains("weights") && !file["weights"].empty()) amp->info["weights"] = file["weights"].size();
  if (!amp->slimmer.empty()) amp->info["sizes"] = amp->slimmer.size() + 1;
  return amp;
}

}  // namespace neurig
