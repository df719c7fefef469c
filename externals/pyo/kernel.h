/* kernel.h: native nodes in pyo's graph. Part of the Python module `neurig._core`; compiled as C++.
 *
 * pyo's CallAlways calls a callable once per block. Here such callables are C functions: pyo's audio thread runs them
 * without a line of Python, in the order of its streams and with no latency. Each one is a neurig_node:
 *
 *   sources (blocks of other nodes, or tables that pyo fills) --> summed, each with a ramped gain --> process --> block
 *
 * A block is an array of doubles, the samples of pyo64: the node's own memory, or a pyo table's, which TableScan then
 * reads. What sits between two nodes is a pointer, so connecting never touches a running pyo object, and never clicks.
 *
 * Threads. pyo holds the GIL while it computes a block. Every function below that changes a node takes the GIL, and so
 * falls between two blocks; no locks are needed. `neurig_node_record_read` is the exception: it only drains a ring.
 */
#ifndef NEURIG_KERNEL_H
#define NEURIG_KERNEL_H

#include <Python.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "neurig.h"

/* cdef */
typedef struct neurig_node neurig_node;

enum {
  NEURIG_NODE_MIX = 6,   /* amp, after those of neurig_amp (NEURIG_AMP_…): 0 the input, 1 the amp */
  NEURIG_NODE_SLIM = 7,  /* amp: neurig_instance_set_slim */
  NEURIG_NODE_KNOBS = 8, /* amp: the model's own knobs, from here on; 56 at most */

  NEURIG_NODE_RATE = 0, /* player: speed */
  NEURIG_NODE_GAIN = 1, /* player: dB */
  NEURIG_NODE_PLAY = 2  /* player: 0 or 1; from the beginning */
};

/* Nodes of `frames` samples per block. `block`: where the result goes; NULL: into the node's own memory.
 * Each appends the callable for pyo to a Python list (given as its id) and returns what it calls. The callable owns
 * the node: keep it for as long as the node is used. */
neurig_node *neurig_node_sum(uintptr_t list, int frames, double *block);
neurig_node *neurig_node_amp(uintptr_t list, int frames, double *block, double rate);
neurig_node *neurig_node_player(uintptr_t list, int frames, double *block);
neurig_node *neurig_node_recorder(uintptr_t list, int frames, double *block, int capacity);
/* A callable to run first in every block: sets flush-to-zero for the audio thread, and ends the process at once, with
 * this exit status, where the block size of the pyo server (its id) is no longer `frames`: JACK may change it at any
 * time, and pyo then writes past its buffers. */
void neurig_node_guard(uintptr_t list, int frames, uintptr_t server, int exit_status);

double *neurig_node_block(neurig_node *node);
/* Sums what is at `source` (as long as a block) into the input, under a key. Fades in over `ramp` samples. */
void neurig_node_connect(neurig_node *node, int key, const double *source, int ramp);
/* Fades out over `ramp` samples; 0: silent and forgotten at once. */
void neurig_node_disconnect(neurig_node *node, int key, int ramp);
/* How loud the node's block leaves it: 0 to 1, over `ramp` samples. */
void neurig_node_level(neurig_node *node, double level, int ramp);
/* One of the parameters named above, over `ramp` samples. */
void neurig_node_set(neurig_node *node, int param, double value, int ramp);
/* Blocks that held NaN or infinity and were silenced. */
long neurig_node_faults(neurig_node *node);

/* neurig_amp_swap and neurig_amp_collect of an amp node. Free what they return. */
neurig_instance *neurig_node_swap(neurig_node *node, neurig_instance *fresh);
neurig_instance *neurig_node_collect(neurig_node *node);
/* Loops `frames` samples (kept by the caller until another clip has replaced it and its fade has ended); crossfades
 * over `ramp` samples. */
void neurig_node_clip(neurig_node *node, const float *samples, int64_t frames, int ramp);
/* Records what passes through, at most `limit` samples (-1: until stopped). */
void neurig_node_record(neurig_node *node, int64_t limit);
void neurig_node_record_stop(neurig_node *node);
/* Is it recording? Stays true until the limit is reached, or it is stopped. */
int neurig_node_recording(neurig_node *node);
/* At most `count` recorded samples, in order; returns how many. For one thread, without the GIL. */
int neurig_node_record_read(neurig_node *node, float *samples, int count);
/* Samples lost since the recording began because nobody read. */
int64_t neurig_node_record_lost(neurig_node *node);
/* end cdef */

/* A value that moves in a straight line. */
struct neurig_ramp {
  double value = 0, target = 0, step = 0;
  int left = 0;

  void to(double goal, int samples) {
    target = goal;
    left = samples > 0 ? samples : 0;
    step = left ? (goal - value) / left : 0;
    if (!left) value = goal;
  }
  bool moves() const { return left > 0; }
  double next() {
    if (left > 0) value = --left ? value + step : target;
    return value;
  }
  /* Moves by n samples at once. */
  double skip(int n) {
    if (left > n) left -= n, value += n * step;
    else if (left > 0) left = 0, value = target;
    return value;
  }
};

struct neurig_node {
  struct Source {
    int key;
    const double *block;
    neurig_ramp gain;
  };
  int frames;
  double *block;
  std::vector<double> own;
  std::vector<Source> sources;
  neurig_ramp level;
  std::atomic<long> faults{0};

  neurig_node(int frames_, double *block_) : frames(frames_), block(block_) {
    if (!block) own.resize(frames), block = own.data();
    level.value = level.target = 1;
    sources.reserve(16);
  }
  virtual ~neurig_node() = default;
  virtual void process() {}
  virtual void set(int, double, int) {}

  void run() {
    sum();
    guard();
    process();
    if (level.moves()) {
      for (int i = 0; i < frames; i++) block[i] *= level.next();
    } else if (level.value != 1) {
      for (int i = 0; i < frames; i++) block[i] *= level.value;
    }
  }

  void sum() {
    std::memset(block, 0, sizeof(double) * frames);
    for (size_t s = 0; s < sources.size();) {
      Source &source = sources[s];
      if (source.gain.moves()) {
        for (int i = 0; i < frames; i++) block[i] += source.gain.next() * source.block[i];
      } else if (source.gain.value == 1) {
        for (int i = 0; i < frames; i++) block[i] += source.block[i];
      } else {  // faded out
        sources.erase(sources.begin() + s);
        continue;
      }
      s++;
    }
  }

  /* Silences the block where a sample is not a number, or infinite; tells whether it was. */
  bool guard() {
    uint64_t worst = 0;
    for (int i = 0; i < frames; i++) {
      uint64_t bits;
      std::memcpy(&bits, block + i, sizeof bits);
      bits &= 0x7ff0000000000000u;
      worst = bits > worst ? bits : worst;
    }
    if (worst != 0x7ff0000000000000u) return false;
    std::memset(block, 0, sizeof(double) * frames);
    faults++;
    return true;
  }
};

/* A neurig_amp over the summed input. */
struct neurig_amp_node : neurig_node {
  static constexpr int kParams = 64;
  neurig_amp *amp;
  std::vector<float> dry, wet;
  neurig_ramp params[kParams];
  neurig_ramp &mix = params[NEURIG_NODE_MIX];

  neurig_amp_node(int frames_, double *block_, double rate) : neurig_node(frames_, block_), amp(neurig_amp_new(rate)) {
    dry.resize(frames), wet.resize(frames);
    for (int i = 0; i < NEURIG_NODE_MIX; i++) params[i].to(neurig_amp_get(amp, i), 0);
    mix.to(1, 0);
    params[NEURIG_NODE_SLIM].to(1, 0);
  }
  ~neurig_amp_node() override {
    PyThreadState *state = PyEval_SaveThread(); /* an instance may wait for a thread that is in Python */
    neurig_amp_free(amp);
    PyEval_RestoreThread(state);
  }

  void set(int param, double value, int ramp) override {
    if (param < 0 || param >= kParams) return;
    params[param].to(value, ramp);
    if (!ramp) apply(param);
  }
  void apply(int param) {
    const float value = float(params[param].value);
    neurig_instance *instance = neurig_amp_instance(amp);
    if (param < NEURIG_NODE_MIX) neurig_amp_set(amp, param, value);
    else if (param == NEURIG_NODE_SLIM && instance) neurig_instance_set_slim(instance, value);
    else if (param >= NEURIG_NODE_KNOBS && instance)
      neurig_instance_set_param(instance, param - NEURIG_NODE_KNOBS, value);
  }
  void process() override {
    for (int param = 0; param < kParams; param++) {
      if (param == NEURIG_NODE_MIX || !params[param].moves()) continue;
      params[param].skip(frames);
      apply(param);
    }
    for (int i = 0; i < frames; i++) dry[i] = float(block[i]);
    neurig_amp_process(amp, dry.data(), wet.data(), frames);
    for (int i = 0; i < frames; i++) {
      const double m = mix.next();
      block[i] = (1 - m) * block[i] + m * wet[i];
    }
    if (guard()) neurig_amp_reset(amp);
  }
};

/* Plays a clip in a loop. */
struct neurig_player_node : neurig_node {
  struct Voice {
    const float *samples = nullptr;
    int64_t frames = 0;
    double position = 0;
    neurig_ramp gain;

    double next(double rate) {
      if (!frames) return 0;
      const int64_t i = int64_t(position);
      const double t = position - double(i), y1 = samples[i];
      double y = y1;
      if (t > 0) {  // Catmull-Rom through four points of the loop
        const double y0 = at(i - 1), y2 = at(i + 1), y3 = at(i + 2);
        y += 0.5 * t * (y2 - y0 + t * (2 * y0 - 5 * y1 + 4 * y2 - y3 + t * (3 * (y1 - y2) + y3 - y0)));
      }
      position += rate;
      if (position >= double(frames)) position = std::fmod(position, double(frames));
      return y;
    }
    double at(int64_t i) const { return samples[(i % frames + frames) % frames]; }
  };
  std::vector<Voice> voices;  // the last one is the clip that plays; those before it fade out
  neurig_ramp rate, gain, play;

  neurig_player_node(int frames_, double *block_) : neurig_node(frames_, block_) {
    rate.to(1, 0);
    play.to(1, 0);
    voices.reserve(8);
  }
  void set(int param, double value, int ramp) override {
    if (param == NEURIG_NODE_RATE) rate.to(value, ramp);
    if (param == NEURIG_NODE_GAIN) gain.to(value, ramp);
    if (param == NEURIG_NODE_PLAY) {
      if (value > 0 && play.value == 0 && !voices.empty()) voices.back().position = 0;
      play.to(value > 0, ramp);
    }
  }
  void clip(const float *samples, int64_t frames_, int ramp) {
    const bool sounds = !voices.empty();
    if (sounds) voices.back().gain.to(0, ramp);
    voices.push_back({samples, frames_});
    voices.back().gain.to(1, sounds ? ramp : 0);
  }
  void process() override {
    double amplitude = std::pow(10, gain.value / 20);
    const double step = (std::pow(10, gain.skip(frames) / 20) - amplitude) / frames;
    for (int i = 0; i < frames; i++) {
      const double open = play.next(), speed = rate.next();
      amplitude += step;
      if (open == 0) continue;
      double y = 0;
      for (Voice &voice : voices) y += voice.gain.next() * voice.next(speed);
      block[i] += amplitude * open * y;
    }
    while (voices.size() > 1 && voices.front().gain.value == 0) voices.erase(voices.begin());
  }
};

/* Passes its input on, and writes it into a ring while it records. */
struct neurig_recorder_node : neurig_node {
  std::vector<float> ring;
  std::atomic<uint64_t> written{0}, read{0};
  std::atomic<int64_t> lost{0};
  std::atomic<bool> recording{false};
  int64_t limit = -1;

  neurig_recorder_node(int frames_, double *block_, int capacity) : neurig_node(frames_, block_), ring(capacity) {}

  void process() override {
    if (!recording.load(std::memory_order_relaxed)) return;
    const uint64_t head = written.load(std::memory_order_relaxed), tail = read.load(std::memory_order_acquire);
    int64_t count = limit >= 0 && limit < frames ? limit : frames;
    if (limit >= 0) limit -= count;
    const uint64_t room = ring.size() - (head - tail);
    if (uint64_t(count) > room) lost += count - int64_t(room), count = int64_t(room);
    for (int64_t i = 0; i < count; i++) ring[(head + i) % ring.size()] = float(block[i]);
    written.store(head + count, std::memory_order_release);
    if (limit == 0) recording = false;
  }
};

/* ---- For Python ------------------------------------------------------------------------------------------------- */

struct neurig_gil {
  PyGILState_STATE state = PyGILState_Ensure();
  ~neurig_gil() { PyGILState_Release(state); }
};

static PyObject *neurig_node_call(PyObject *capsule, PyObject *) {
  static_cast<neurig_node *>(PyCapsule_GetPointer(capsule, "neurig_node"))->run();
  Py_RETURN_NONE;
}

static void neurig_node_delete(PyObject *capsule) {
  delete static_cast<neurig_node *>(PyCapsule_GetPointer(capsule, "neurig_node"));
}

/* Appends a C function with a capsule as its `self` to a Python list. */
static void neurig_append_callable(uintptr_t list, PyMethodDef *method, PyObject *capsule) {
  PyObject *callable = PyCFunction_New(method, capsule);
  PyList_Append(reinterpret_cast<PyObject *>(list), callable);
  Py_DECREF(callable);
  Py_DECREF(capsule);
}

static neurig_node *neurig_node_hand_over(uintptr_t list, neurig_node *node) {
  static PyMethodDef method = {"neurig_node", neurig_node_call, METH_NOARGS, "Computes one block."};
  neurig_gil gil;
  neurig_append_callable(list, &method, PyCapsule_New(node, "neurig_node", neurig_node_delete));
  return node;
}

neurig_node *neurig_node_sum(uintptr_t list, int frames, double *block) {
  return neurig_node_hand_over(list, new neurig_node(frames, block));
}
neurig_node *neurig_node_amp(uintptr_t list, int frames, double *block, double rate) {
  return neurig_node_hand_over(list, new neurig_amp_node(frames, block, rate));
}
neurig_node *neurig_node_player(uintptr_t list, int frames, double *block) {
  return neurig_node_hand_over(list, new neurig_player_node(frames, block));
}
neurig_node *neurig_node_recorder(uintptr_t list, int frames, double *block, int capacity) {
  return neurig_node_hand_over(list, new neurig_recorder_node(frames, block, capacity));
}

struct neurig_guard {
  PyObject *server;
  long frames;
  int exit_status;
};

static PyObject *neurig_guard_call(PyObject *capsule, PyObject *) {
#if defined(__SSE2__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
  uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("msr fpcr, %0" ::"r"(control | (1 << 24)));
#endif
  const auto *guard = static_cast<neurig_guard *>(PyCapsule_GetPointer(capsule, "neurig_guard"));
  PyObject *size = PyObject_CallMethod(guard->server, "getBufferSize", nullptr);
  if (!size || PyLong_AsLong(size) != guard->frames) _exit(guard->exit_status);
  Py_DECREF(size);
  Py_RETURN_NONE;
}

static void neurig_guard_delete(PyObject *capsule) {
  auto *guard = static_cast<neurig_guard *>(PyCapsule_GetPointer(capsule, "neurig_guard"));
  Py_DECREF(guard->server);
  delete guard;
}

void neurig_node_guard(uintptr_t list, int frames, uintptr_t server, int exit_status) {
  static PyMethodDef method = {"neurig_guard", neurig_guard_call, METH_NOARGS, "Runs first in each block."};
  neurig_gil gil;
  auto *guard = new neurig_guard{reinterpret_cast<PyObject *>(server), frames, exit_status};
  Py_INCREF(guard->server);
  neurig_append_callable(list, &method, PyCapsule_New(guard, "neurig_guard", neurig_guard_delete));
}

double *neurig_node_block(neurig_node *node) { return node->block; }

void neurig_node_connect(neurig_node *node, int key, const double *source, int ramp) {
  neurig_gil gil;
  for (auto &other : node->sources) {
    if (other.key == key) return other.gain.to(1, ramp);
  }
  node->sources.push_back({key, source, {}});
  node->sources.back().gain.to(1, ramp);
}

void neurig_node_disconnect(neurig_node *node, int key, int ramp) {
  neurig_gil gil;
  for (size_t s = 0; s < node->sources.size(); s++) {
    if (node->sources[s].key != key) continue;
    if (ramp) node->sources[s].gain.to(0, ramp);
    else node->sources.erase(node->sources.begin() + s);
    return;
  }
}

void neurig_node_level(neurig_node *node, double level, int ramp) {
  neurig_gil gil;
  node->level.to(level, ramp);
}

void neurig_node_set(neurig_node *node, int param, double value, int ramp) {
  neurig_gil gil;
  node->set(param, value, ramp);
}

long neurig_node_faults(neurig_node *node) { return node->faults; }

neurig_instance *neurig_node_swap(neurig_node *node, neurig_instance *fresh) {
  neurig_gil gil;
  return neurig_amp_swap(static_cast<neurig_amp_node *>(node)->amp, fresh);
}

neurig_instance *neurig_node_collect(neurig_node *node) {
  neurig_gil gil;
  return neurig_amp_collect(static_cast<neurig_amp_node *>(node)->amp);
}

void neurig_node_clip(neurig_node *node, const float *samples, int64_t frames, int ramp) {
  neurig_gil gil;
  static_cast<neurig_player_node *>(node)->clip(samples, frames, ramp);
}

void neurig_node_record(neurig_node *node, int64_t limit) {
  neurig_gil gil;
  auto *recorder = static_cast<neurig_recorder_node *>(node);
  recorder->limit = limit;
  recorder->lost = 0;
  recorder->recording = limit != 0;
}

void neurig_node_record_stop(neurig_node *node) {
  neurig_gil gil;
  static_cast<neurig_recorder_node *>(node)->recording = false;
}

int neurig_node_recording(neurig_node *node) { return static_cast<neurig_recorder_node *>(node)->recording; }

int neurig_node_record_read(neurig_node *node, float *samples, int count) {
  auto *recorder = static_cast<neurig_recorder_node *>(node);
  const uint64_t tail = recorder->read.load(std::memory_order_relaxed);
  const uint64_t ready = recorder->written.load(std::memory_order_acquire) - tail;
  if (uint64_t(count) > ready) count = int(ready);
  for (int i = 0; i < count; i++) samples[i] = recorder->ring[(tail + i) % recorder->ring.size()];
  recorder->read.store(tail + count, std::memory_order_release);
  return count;
}

int64_t neurig_node_record_lost(neurig_node *node) {
  return static_cast<neurig_recorder_node *>(node)->lost;
}

#endif
