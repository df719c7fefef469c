// NAM's ConvNet: dilated convolutions of two taps, each with batch normalisation (Ioffe & Szegedy 2015) and an
// activation, under a linear head.
#include <algorithm>
#include <cmath>

#include "net.h"

namespace neurig {
namespace {

class ConvNet : public Net {
 public:
  ConvNet(const Json &config, Weights weights) {
    const int channels = int(integer(config, "channels", "config", 1, kMaxChannels));
    const std::vector<int> dilations = integers(config, "dilations", "config", 1, 1 << 20);
    const bool batchnorm = boolean(config, "batchnorm", "config", false);
    const int groups = config.contains("groups") ? int(integer(config, "groups", "config", 1, kMaxChannels)) : 1;
    if (config.contains("in_channels")) inputs = int(integer(config, "in_channels", "config", 1, 64));
    if (config.contains("out_channels")) outputs = int(integer(config, "out_channels", "config", 1, 64));
    activation_ = read_activation(field(config, "activation", "config"), channels, "config.activation");
    int width = inputs;
    int64_t expected = 0;
    for (const int dilation : dilations) {
      blocks_.push_back({Conv(width, channels, 2, dilation, groups, !batchnorm, "config"), {}});
      cost += blocks_.back().conv.size() + kLayerCost;
      expected += blocks_.back().conv.weights() + (batchnorm ? 4 * channels + 1 : 0);
      width = channels;
      memory += dilation;
    }
    head_ = Conv(channels, outputs, 1, 1, 1, true, "config.head");
    Layout trial;
    lay_out(trial);
    weights.expect(expected + head_.weights());
    check_cost(cost += head_.size());
    for (Block &block : blocks_) {
      block.conv.read(weights);
      if (batchnorm) fold_batchnorm(block.conv, weights);
      block.conv.pack();
    }
    head_.read(weights);
    head_.pack();
    for (const Block &block : blocks_) macs += block.conv.macs();
    macs += head_.macs();
  }

  void lay_out(Layout &layout) override {
    for (Block &block : blocks_) block.past = History(block.conv.inputs, block.conv.look(), layout);
    rows_ = layout.rows(head_.inputs);
  }

  void process(State &state, const float *in, Row out, int n) const override {
    float *const last = state.data.data() + rows_;
    const History &first = blocks_[0].past;
    for (int c = 0; c < inputs; c++)
      std::copy_n(in + ptrdiff_t(c) * kRow, n, first.next(state) + ptrdiff_t(c) * first.stride);
    for (size_t b = 0; b < blocks_.size(); b++) {
      const Block &block = blocks_[b];
      const bool final = b + 1 == blocks_.size();
      float *to = final ? last : blocks_[b + 1].past.next(state);
      const ptrdiff_t stride = final ? kRow : blocks_[b + 1].past.stride;
      block.conv.apply(block.past.next(state), block.past.stride, to, stride, nullptr, 0, n);
      activation_.apply(to, stride, block.conv.outputs, n);
      block.past.advance(state, n);
    }
    head_.apply(last, kRow, out, kRow, nullptr, 0, n);
  }

 private:
  struct Block {
    Conv conv;
    History past;
  };
  std::vector<Block> blocks_;
  Conv head_;
  ActivationSpec activation_;
  int64_t rows_ = 0;

  // Normalisation by stored statistics is one more linear map: into the convolution with it.
  static void fold_batchnorm(Conv &conv, Weights &weights) {
    const size_t channels = size_t(conv.outputs), width = size_t(conv.inputs) * conv.kernel;
    std::vector<float> parts[4];  // mean, variance, scale, offset
    for (auto &part : parts)
      for (size_t c = 0; c < channels; c++) part.push_back(weights.next());
    const float epsilon = weights.next();
    conv.bias = Floats(channels);
    for (size_t c = 0; c < channels; c++) {
      const float root = parts[1][c] + epsilon;
      if (!(root > 0)) throw Error("a batch normalisation has a variance that is not positive");
      const float scale = parts[2][c] / std::sqrt(root);
      for (size_t i = 0; i < width; i++) conv.dense[c * width + i] *= scale;
      conv.bias[c] = parts[3][c] - scale * parts[0][c];
    }
  }
};

}  // namespace

std::unique_ptr<Net> read_convnet(const Json &config, Weights weights) {
  return std::make_unique<ConvNet>(config, std::move(weights));
}

}  // namespace neurig
