#include "train.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include "instance.h"
#include "neurig.h"

namespace neurig {
namespace {

constexpr int kMaxThreads = 256;

// work(thread) on so many threads, the caller's among them. None begins before all are there: they wait for each other.
template <class Work> void in_parallel(int threads, Work work) {
  enum { waiting, all_there, not_to_be };
  std::atomic<int> start{waiting};
  const auto share = [&](int thread) {
    while (start.load(std::memory_order_acquire) == waiting) std::this_thread::yield();
    if (start.load(std::memory_order_acquire) == not_to_be) return;
    const FlushToZero flush;
    work(thread);
  };
  std::vector<std::thread> others;
  const auto join = [&others] {
    for (std::thread &thread : others) thread.join();
  };
  try {
    others.reserve(size_t(threads));
    for (int thread = 1; thread < threads; thread++) others.emplace_back(share, thread);
  } catch (...) {
    start.store(not_to_be, std::memory_order_release);
    join();
    throw Error("there are not enough threads");
  }
  start.store(all_there, std::memory_order_release);
  share(0);
  join();
}

}  // namespace

void Pass::forward(const float *weights, const float *in, Batch batch, float *state, float *out, int threads) {
  if (batch.signals < 1 || batch.samples < learner_.receptive_field || batch.samples > (1 << 30) / kLanes)
    throw Error("a batch has at least one signal of " + std::to_string(learner_.receptive_field) + " samples");
  if (threads < 1 || threads > kMaxThreads) throw Error("threads must be 1 to " + std::to_string(kMaxThreads));
  ready_ = false;
  if (!(batch == batch_)) {
    batch_ = batch;
    try {
      x_.lay_out(batch.groups(), learner_.inputs + 1, 0, batch.samples);
      for (int group = 0; group < batch.groups(); group++)
        for (int64_t t = 0; t < batch.samples; t++) std::fill_n(ones(group, t).x, kLanes, 1.f);
      lay_out();
    } catch (...) {
      batch_ = {};
      throw;
    }
  }
  in_ = in, out_ = out;
  pack(weights);
  read_state(state);
  begin();
  in_parallel(threads, [&](int thread) { go_forward(thread, threads); });
  if (state) write_state(state);
  ready_ = true;
}

void Pass::backward(const float *gradient, float *gradients, int threads) {
  if (!ready_) throw Error("there is no forward pass to go back through, or it was gone back through already");
  if (threads < 1 || threads > kMaxThreads) throw Error("threads must be 1 to " + std::to_string(kMaxThreads));
  ready_ = false;
  gradient_ = gradient;
  const size_t size = size_t(learner_.sums_) * 4;
  while (sums_.size() < size_t(threads)) sums_.emplace_back(size);
  begin();
  in_parallel(threads, [&](int thread) {
    std::fill_n(sums_[size_t(thread)].data(), size, 0.f);
    go_backward(thread, threads, sums_[size_t(thread)].data());
  });
  for (int thread = 1; thread < threads; thread++)
    for (size_t i = 0; i < size; i++) sums_[0][i] += sums_[size_t(thread)][i];
  std::fill_n(gradients, learner_.weights, 0.f);
  collect(sums_[0].data(), gradients);
}

void Pass::read_input(int group, int64_t from, int64_t to) {
  const int inputs = learner_.inputs, lanes = batch_.lanes(group);
  for (int i = 0; i < inputs; i++) {
    const Rows row = x_.at(group, from).channel(i);
    for (int lane = 0; lane < lanes; lane++) {
      const float *const x = in_ + (int64_t(group * kLanes + lane) * inputs + i) * batch_.samples + from;
      for (int64_t t = 0; t < to - from; t++) row.x[t * row.step + lane] = x[t];
    }
  }
}

void Pass::write_output(int group, int64_t from, int64_t to, float scale) {
  const int64_t first = learner_.receptive_field - 1;
  const Rows row = y_.at(group, from);
  for (int lane = 0; lane < batch_.lanes(group); lane++) {
    float *const y = out_ + (group * kLanes + lane) * outputs() + from - first;
    for (int64_t t = 0; t < to - from; t++) y[t] = row.x[t * row.step + lane] * scale;
  }
}

void Pass::read_gradient(int group, int64_t from, int64_t to, float scale) {
  const int64_t first = learner_.receptive_field - 1;
  const Rows row = y_.at(group, from);
  for (int64_t t = 0; t < to - from; t++) std::fill_n(row.x + t * row.step, kLanes, 0.f);
  for (int lane = 0; lane < batch_.lanes(group); lane++) {
    const float *const y = gradient_ + (group * kLanes + lane) * outputs() + from - first;
    for (int64_t t = 0; t < to - from; t++) row.x[t * row.step + lane] = y[t] * scale;
  }
}

std::unique_ptr<Learner> read_learner(const char *text) {
  const Json description = Json::parse(text, nullptr, false);
  if (!description.is_object()) throw Error("the description is not a JSON object");
  const std::string architecture =
      description.contains("dilations") ? "" : neurig::text(description, "architecture", "the description");
  if (architecture == "LSTM" || architecture == "GRU") return learn_recurrent(description);
  if (architecture == "WaveNet" || architecture.empty()) return learn_wavenet(description);
  throw Error("its architecture is \"" + architecture + "\"; WaveNet, LSTM and GRU can be trained");
}

}  // namespace neurig

// ---- neurig.h -------------------------------------------------------------------------------------------------------

struct neurig_learner {
  std::shared_ptr<const neurig::Learner> learner;
};
struct neurig_pass {
  std::shared_ptr<const neurig::Learner> learner;
  std::unique_ptr<neurig::Pass> pass;
};

namespace {

template <class Do> int guarded(char *error, int size, Do work) {
  const auto say = [error, size](const char *text) {
    if (error && size > 0) std::snprintf(error, size_t(size), "%s", text);
    return -1;
  };
  try {
    work();
    return 0;
  } catch (const std::bad_alloc &) {
    return say("there is not enough memory");
  } catch (const std::exception &e) {
    return say(e.what());
  }
}

}  // namespace

extern "C" {

neurig_learner *neurig_learner_new(const char *description, char *error, int size) {
  neurig_learner *made = nullptr;
  guarded(error, size, [&] { made = new neurig_learner{neurig::read_learner(description)}; });
  return made;
}
void neurig_learner_free(neurig_learner *learner) { delete learner; }
int neurig_learner_inputs(const neurig_learner *learner) { return learner->learner->inputs; }
int64_t neurig_learner_weights(const neurig_learner *learner) { return learner->learner->weights; }
int64_t neurig_learner_receptive_field(const neurig_learner *learner) { return learner->learner->receptive_field; }
int64_t neurig_learner_state(const neurig_learner *learner) { return learner->learner->state; }
neurig_pass *neurig_pass_new(const neurig_learner *learner, char *error, int size) {
  neurig_pass *made = nullptr;
  guarded(error, size, [&] { made = new neurig_pass{learner->learner, learner->learner->pass()}; });
  return made;
}
void neurig_pass_free(neurig_pass *pass) { delete pass; }
int neurig_pass_forward(neurig_pass *pass, const float *weights, const float *in, int signals, int64_t samples,
                        float *state, float *out, int threads, char *error, int size) {
  return guarded(error, size, [&] { pass->pass->forward(weights, in, {signals, samples}, state, out, threads); });
}
int neurig_pass_backward(neurig_pass *pass, const float *gradient, float *gradients, int threads, char *error,
                         int size) {
  return guarded(error, size, [&] { pass->pass->backward(gradient, gradients, threads); });
}

}  // extern "C"
