/* neurig.h: the one door into the core.
 *
 * Two kinds of neural network run behind it: amps, which turn a signal into that of an amplifier, a pedal or a cabinet,
 * and MDRNN gesture predictors. A file becomes an immutable, shared Model; every stream has an object of its own:
 *
 *   neurig_instance   one or several channels through one model, at the host's sample rate
 *   neurig_amp        what a host puts into its signal path: an instance with gains, bypass, and a crossfade when the
 *                     instance is replaced
 *   neurig_predictor  one performance of an MDRNN
 *   neurig_session    a player and a predictor (or another network), and who of them plays when
 *
 * and for training, which no host needs, neurig_learner and neurig_pass.
 *
 * Threads. Functions marked [real time] neither allocate, lock, wait, log nor throw, and may be called on the audio
 * thread. All others may take milliseconds: call them elsewhere. A Model may be used from any thread; any other object
 * is for one thread at a time.
 *
 * Errors. Functions that can fail return NULL (or a negative number) and write one plain sentence, without the path,
 * into `error` (at most `size` bytes with its end; may be NULL).
 */
#ifndef NEURIG_H
#define NEURIG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct neurig_model neurig_model;
typedef struct neurig_instance neurig_instance;
typedef struct neurig_amp neurig_amp;
typedef struct neurig_predictor neurig_predictor;
typedef struct neurig_session neurig_session;
typedef struct neurig_learner neurig_learner;
typedef struct neurig_pass neurig_pass;

const char *neurig_version(void);

/* ---- Model ---------------------------------------------------------------------------------------------------- */

/* Reads a model file; its kind is recognised by content. */
neurig_model *neurig_model_load(const char *path, char *error, int size);
/* The same from `length` bytes in memory. */
neurig_model *neurig_model_parse(const char *text, int64_t length, char *error, int size);
/* A sound file (WAV, FLAC, AIFF) is an impulse response, too. Of its end is cut off what holds less than 1e-10 of its
 * energy, and it is normalised: pink noise from 50 Hz to 10 kHz comes out as loud as it went in. A stereo file has one knob,
 * "side": 0 the left response, 1 the right one, 0.5 (default) the mean of both. libsndfile reads such files; it is looked
 * for in the system, and first at `path` where this has been called before the first of them is loaded. */
void neurig_prefer_sound_library(const char *path);

/* An impulse response as an amp: `frames` samples (copied) taken at `rate` Hz, and used as they are. */
neurig_model *neurig_model_from_ir(const float *samples, int64_t frames, double rate, char *error, int size);

/* What computes a model that the core cannot: a library that the host has, onnxruntime for example. `memory` is a
 * stream's state, `state` floats that are 0 at first; the core keeps it, so that such streams are made, copied and reset
 * like any other. `process` (amps) takes n ≤ 64 samples; `step` (predictors) takes a frame in the network's scale and
 * gives what neurig_predictor_mixture tells. Either gives 0, or a negative number where it failed: the samples are
 * silence then, and the mixture stays as it was. They are called on the thread that plays. `release` is called with the
 * handle when the last reference to the model goes (not where making the model fails); it may be NULL. */
typedef struct {
  void *handle;
  int64_t state;
  int (*process)(void *handle, float *memory, const float *in, float *out, int n);
  int (*step)(void *handle, float *memory, const float *frame, float *mus, float *sigmas, float *pi_logits);
  void (*release)(void *handle);
} neurig_engine;
/* `about`: a JSON object with what neurig_model_info shall tell, and "prewarm" (amps: samples of silence that the
 * initial state is made with) or "scale" (predictors: what frames are multiplied with on their way in). */
neurig_model *neurig_model_from_engine(const neurig_engine *engine, const char *about, char *error, int size);

/* Models are counted: load gives one reference, release gives it back, [real time] only where it is not the last. */
neurig_model *neurig_model_retain(neurig_model *model);
void neurig_model_release(neurig_model *model);

/* A JSON object that describes the model: "kind" ("amp" or "predictor"), "family" (whose format it has), "architecture",
 * "sample_rate" (Hz), "weights" (their number), "macs" (multiply-adds of its matrices for each sample or frame),
 * "receptive_field" (samples; amps; null where without end), "sizes" (of amps that come in several), "params" (a list of
 * {"name", "default", "low", "high"}), "self_check" (ESR against the output that the file carries, if it does), "warning"
 * (a sentence, where something about the file is doubtful), "dimension", "units", "layers", "mixtures" (predictors),
 * "metadata". Belongs to the model. */
const char *neurig_model_info(const neurig_model *model);
/* That warning, to be told when the model is loaded; NULL where there is none. Belongs to the model. */
const char *neurig_model_warning(const neurig_model *model);
int neurig_model_is_amp(const neurig_model *model);
int neurig_model_is_predictor(const neurig_model *model);
/* The rate the model was made for in Hz; 0 where it has none. */
double neurig_model_rate(const neurig_model *model);
/* The model's own knobs, 0..1 each (conditioned models; most have none). */
int neurig_model_params(const neurig_model *model);
const char *neurig_model_param_name(const neurig_model *model, int index);
/* How many sizes a slimmable model has, from a cheap one to the best; 1 for all other models. */
int neurig_model_sizes(const neurig_model *model);

/* ---- Instance: one or several channels through one model ------------------------------------------------------- */

/* `rate`: the host's sample rate in Hz. Where it is not the model's, the signal is converted to the model's rate and
 * back, which costs latency. `quality` of that conversion: 0 (shortest latency), 1 (usual), 2 (best).
 * The instance comes prewarmed: as if it had heard silence for ever. */
neurig_instance *neurig_instance_new(neurig_model *model, double rate, int quality, char *error, int size);
/* An instance that computes on a thread of its own and is heard `delay` samples later (1 to 2^20; its latency tells of
 * them): for models that may not run on the audio thread, or that are to run on another core. What is not ready in time
 * is silence, and is counted. Knobs and size hold for the samples that come after they were set. */
neurig_instance *neurig_instance_new_deferred(neurig_model *model, double rate, int quality, int channels, int delay,
                                              char *error, int size);
/* [real time] Samples of a deferred instance that were not ready in time; 0 for others. */
int64_t neurig_instance_late(const neurig_instance *instance);
/* 1: a deferred instance is waited for, so that nothing is ever late: for rendering faster than real time. */
void neurig_instance_set_waiting(neurig_instance *instance, int on);
/* Seconds of CPU time that a deferred instance's thread has used; 0 for others. */
double neurig_instance_cpu(const neurig_instance *instance);
void neurig_instance_free(neurig_instance *instance);
/* 1 to 64 channels, each as an instance of its own would play it, to the last bit: those of an LSTM or GRU take less time
 * together. Knobs and size are the same for all. `exact`: 1 computes an LSTM or GRU in double precision, some twenty times
 * as slow (ESR below 1e-11; without it, below 1e-9); all else is exact anyway. */
neurig_instance *neurig_instance_new_channels(neurig_model *model, double rate, int quality, int channels, int exact,
                                              char *error, int size);
int neurig_instance_channels(const neurig_instance *instance); /* [real time] */
/* [real time] n samples of each channel, any n ≥ 0, the channels one after the other: [channels][n]; `in` and `out` may be
 * the same memory. */
void neurig_instance_process(neurig_instance *instance, const float *in, float *out, int n);
/* [real time] Back to the prewarmed state. */
void neurig_instance_reset(neurig_instance *instance);
/* [real time] Samples at the host's rate by which the output lags behind the input. */
int neurig_instance_latency(const neurig_instance *instance);
/* [real time] One of the model's own knobs, 0..1. */
void neurig_instance_set_param(neurig_instance *instance, int index, float value);
float neurig_instance_param(const neurig_instance *instance, int index);
/* [real time] Which of a slimmable model's sizes runs: 0 the slimmest … 1 the largest (default). Once the instance has
 * processed, another size first listens in, unheard, for as long as it remembers (at most 0.2 s), then takes over with a
 * crossfade of 20 ms; until then both run. Without effect on models of one size. */
void neurig_instance_set_slim(neurig_instance *instance, float size);
float neurig_instance_slim(const neurig_instance *instance);
neurig_model *neurig_instance_model(const neurig_instance *instance); /* [real time] borrowed, not retained */

/* ---- Amp: an instance in a host's signal path ----------------------------------------------------------------- */

enum {
  NEURIG_AMP_GAIN,   /* before the model, dB, -60..60, default 0 */
  NEURIG_AMP_OUT,    /* after the model, dB, -60..60, default 0 */
  NEURIG_AMP_BYPASS, /* 0 or 1: the input, untouched; default 0 */
  NEURIG_AMP_XFADE,  /* length of the crossfade on swap, ms, 0..1000, default 20 */
  NEURIG_AMP_LEVEL,  /* one of the levels below, default raw */
  NEURIG_AMP_DBU     /* for calibrated: the level at your interface that is digital full scale, dBu, -60..60, default 12 */
};

/* How loud a model plays. What its file does not state cannot be had: calibrated falls back to normalised, that to raw. */
enum {
  NEURIG_LEVEL_RAW,        /* as the model was trained */
  NEURIG_LEVEL_NORMALISED, /* its output to -18 dB by its stated loudness: every model about equally loud */
  NEURIG_LEVEL_CALIBRATED  /* its input at the analog level that the modelled device had; its output likewise */
};

/* `rate`: Hz. Without an instance an amp gives silence (with bypass: its input). One channel; or several, 1 to 64. */
neurig_amp *neurig_amp_new(double rate);
neurig_amp *neurig_amp_new_channels(double rate, int channels);
/* Frees the amp and the instances it holds. */
void neurig_amp_free(neurig_amp *amp);
/* [real time] Puts `fresh` (or NULL, to unload) in place of the instance that sounds and crossfades; takes ownership.
 * Returns an instance that is no longer heard, to be freed elsewhere, or NULL. One of more or fewer channels than the
 * amp's is not put in, but returned. */
neurig_instance *neurig_amp_swap(neurig_amp *amp, neurig_instance *fresh);
/* [real time] The replaced instance, once its crossfade has ended; else NULL. To be freed elsewhere. */
neurig_instance *neurig_amp_collect(neurig_amp *amp);
/* [real time] The instance that sounds, or NULL; still the amp's. */
neurig_instance *neurig_amp_instance(const neurig_amp *amp);
/* [real time] Changes are smoothed over 20 ms; before the first block they hold at once. Out of range: clipped. */
void neurig_amp_set(neurig_amp *amp, int param, float value);
float neurig_amp_get(const neurig_amp *amp, int param);
/* [real time] The level (NEURIG_LEVEL_…) that is in effect for the instance that sounds, after falling back. */
int neurig_amp_level(const neurig_amp *amp);
/* [real time] n samples of each channel, any n ≥ 0, as for neurig_instance_process. */
void neurig_amp_process(neurig_amp *amp, const float *in, float *out, int n);
/* [real time] Clears the instance's state (neurig_instance_reset). */
void neurig_amp_reset(neurig_amp *amp);

/* ---- Predictor: one performance of an MDRNN -------------------------------------------------------------------- */

/* A frame has `dimension` numbers: [dt, x1 … x(dimension-1)], dt in seconds since the frame before, x in 0..1. */
neurig_predictor *neurig_predictor_new(neurig_model *model, uint64_t seed, char *error, int size);
void neurig_predictor_free(neurig_predictor *predictor);
int neurig_predictor_dimension(const neurig_predictor *predictor);
int neurig_predictor_mixtures(const neurig_predictor *predictor);
/* [real time] One step of the network with a frame of the player's. */
void neurig_predictor_condition(neurig_predictor *predictor, const float *frame);
/* [real time] The next frame. After a condition it is drawn from the mixture that the step gave; otherwise the
 * network takes its own last prediction as input first. dt is at least 0.001 and x in 0..1, as they go on into the
 * network. `pi_temp` > 0 flattens or sharpens the choice of the mixture component, `sigma_temp` ≥ 0 scales the
 * variance. */
void neurig_predictor_predict(neurig_predictor *predictor, float pi_temp, float sigma_temp, float *frame);
/* [real time] One unclipped draw from the latest mixture. */
void neurig_predictor_sample(neurig_predictor *predictor, float pi_temp, float sigma_temp, float *frame);
/* [real time] The latest step's mixture, in the network's own scale (ten times a frame's): mus and sigmas
 * [mixtures][dimension], pi logits [mixtures]. */
void neurig_predictor_mixture(const neurig_predictor *predictor, float *mus, float *sigmas, float *pi_logits);
/* [real time] Clears the LSTM state and the last frame; the random generator goes on. */
void neurig_predictor_reset(neurig_predictor *predictor);
/* [real time] Restarts the random generator: the same seed gives the same performance on every host. */
void neurig_predictor_seed(neurig_predictor *predictor, uint64_t seed);

/* ---- Session: who plays when ----------------------------------------------------------------------------------- */

/* A session neither sleeps nor looks at a clock. It is told what happened and what time it is, in seconds of any clock
 * that never jumps, and tells which frames are due:
 *
 *   neurig_session_input(session, values, count, now, …)               the player moves
 *   neurig_session_due(session)                                        when to come back
 *   while (neurig_session_advance(session, now, &time, frame) > 0) …   each frame that is to be heard now
 */
enum {
  NEURIG_MODE_CALLRESPONSE, /* the network listens, and plays where the player has rested for the threshold, until the
                             * player comes back; not before it has heard something */
  NEURIG_MODE_POLYPHONY,    /* each of the player's frames is answered by one of the network's, its dt later */
  NEURIG_MODE_BATTLE,       /* the network plays on its own, from the start, and does not listen */
  NEURIG_MODE_USERONLY,     /* the network is silent */
  NEURIG_MODE_FILTER,       /* each of the player's frames is replaced by one of the network's, at once */
  NEURIG_MODES
};
/* "callresponse" …; NULL where there is no such mode. */
const char *neurig_mode_name(int mode);
/* The mode of that name, or -1. */
int neurig_mode(const char *name);

enum {
  NEURIG_SESSION_THRESHOLD, /* callresponse: rest after which the network takes over; seconds from 0, default 0.1 */
  NEURIG_SESSION_TIMESCALE, /* stretches the network's time steps, 2 is half as fast; from 0, default 1 */
  NEURIG_SESSION_PITEMP,    /* pi_temp of neurig_predictor_predict; above 0, default 1 */
  NEURIG_SESSION_SIGMATEMP, /* sigma_temp; from 0, default 0.01 */
  NEURIG_SESSION_MIX,       /* 0..1, default 1: the values heard are (1 - mix)·player + mix·network. The player's are
                             * those that are answered (polyphony, filter), or where the hands are now (callresponse,
                             * battle); before the first of them the network is heard alone. The network goes on from
                             * what it played, not from the mix. */
  NEURIG_SESSION_SETTINGS
};

/* What a session plays: a predictor, or whatever can do what a predictor does. Frames are [dt, x1 …]; `condition` and
 * `predict` give 0, or a negative number where they failed. */
typedef struct {
  int dimension; /* from 2 */
  void *handle;  /* what the functions are called with */
  int (*condition)(void *handle, const double *frame);
  int (*predict)(void *handle, double pi_temp, double sigma_temp, double *frame);
  void (*reset)(void *handle);
  void (*seed)(void *handle, uint64_t seed);
} neurig_network;
/* [real time] The predictor as a session's network; it stays yours. */
neurig_network neurig_predictor_network(neurig_predictor *predictor);

/* A session without a network yet, running, in callresponse, with room for frames of `dimension` numbers. */
neurig_session *neurig_session_new(int dimension, double now, char *error, int size);
void neurig_session_free(neurig_session *session);
/* [real time] (unless its frames are longer than those of all networks before, and than the room) Goes on with another
 * network (copied; NULL: none). What was about to be played is not. Negative: there is not enough memory. */
int neurig_session_replace(neurig_session *session, const neurig_network *network, double now);
/* [real time] Of its network; 0 without one. */
int neurig_session_dimension(const neurig_session *session);
/* [real time] What was waiting to be played, or answered, is forgotten. Negative: there is no such mode. */
int neurig_session_set_mode(neurig_session *session, int mode, double now);
int neurig_session_mode(const neurig_session *session);
/* [real time] 0 pauses: nothing is played, and input is not listened to. */
void neurig_session_run(neurig_session *session, int on, double now);
int neurig_session_running(const neurig_session *session);
/* [real time] One of NEURIG_SESSION_…. Negative: out of range, and nothing has changed. */
int neurig_session_set(neurig_session *session, int setting, double value);
double neurig_session_get(const neurig_session *session, int setting);
/* [real time] Restarts the network's random generator, and that of each network put in place later. */
void neurig_session_seed(neurig_session *session, uint64_t seed);
/* [real time] The network forgets what was played, and what it was about to play. */
void neurig_session_reset(neurig_session *session, double now);
/* [real time] A frame of the player's: x1 … x(dimension-1), each 0..1. `frame` (unless NULL) takes it with its time
 * step, as the network got it. -1: the count is wrong or a value is out of range, and nothing has changed. -2: the
 * network has failed, as in advance. */
int neurig_session_input(neurig_session *session, const double *values, int count, double now, double *frame,
                         char *error, int size);
/* [real time] When advance has something to do next; infinite: not before something else happens. */
double neurig_session_due(const neurig_session *session);
/* [real time] The next frame that is due by `now`. 1: `time` takes when it was due, `frame` the dt that the network
 * gave (not scaled) and the values to be heard. 0: there is none. Negative, once: the network has failed, or gave a
 * number that is not finite; it is silent until the player, or a change of mode, network or pause, asks it anew. */
int neurig_session_advance(neurig_session *session, double now, double *time, double *frame);

/* ---- Training --------------------------------------------------------------------------------------------------- */

/* A network whose weights are learned: what it gives for a batch of signals, and how each weight should change, which is
 * left to an optimiser. `description` is its file without the weights: NAM's WaveNet (without FiLM, groups, bottleneck,
 * condition_dsp and a head behind the stacks) or LSTM, the same with "GRU", or the gated WaveNet of WaveNetVA. The weights
 * are one vector in the file's order, of a GRU in that of RTNeural's file; not in it is what is not learned: a NAM file's
 * head_scale and initial states. */
neurig_learner *neurig_learner_new(const char *description, char *error, int size);
void neurig_learner_free(neurig_learner *learner);
/* Signals that go in together: the audio, then knobs. */
int neurig_learner_inputs(const neurig_learner *learner);
int64_t neurig_learner_weights(const neurig_learner *learner);
/* Samples that an output depends on; 1 of a recurrent network. */
int64_t neurig_learner_receptive_field(const neurig_learner *learner);
/* Floats of a signal's state, of recurrent networks: h and c of each layer, of a GRU h. Otherwise 0. */
int64_t neurig_learner_state(const neurig_learner *learner);

/* The memory of a forward pass, which backward needs: many floats for each sample. It is used again for the next
 * pass. */
neurig_pass *neurig_pass_new(const neurig_learner *learner, char *error, int size);
void neurig_pass_free(neurig_pass *pass);
/* `in`: [signals][inputs][samples], `out`: [signals][samples - receptive_field + 1]. `state` ([signals][state], NULL: zeros
 * before, and not told after) is taken from and given back. Signals are computed in groups of 16. Threads (1 to 256) share
 * the groups, and of WaveNets also the samples. 0, or negative where it cannot be done. */
int neurig_pass_forward(neurig_pass *pass, const float *weights, const float *in, int signals, int64_t samples, float *state,
                        float *out, int threads, char *error, int size);
/* From the loss's gradient for what forward gave to that for the weights; none goes into the state. Once for each forward
 * pass. The same number of threads gives the same numbers to the last bit. */
int neurig_pass_backward(neurig_pass *pass, const float *gradient, float *gradients, int threads, char *error, int size);

/* ---- Measuring ------------------------------------------------------------------------------------------------- */

/* What processes n samples (of each channel): neurig_instance_process, or another engine's function of this kind. */
typedef void (*neurig_process)(void *handle, const float *in, float *out, int n);
/* Runs `count` handles, one after the other for each block, over the same `frames` samples in whole blocks of `block`
 * (≤ frames; what is left over is not processed). Each handle takes `channels` channels: `in` has so many rows for each
 * block, [frames / block][channels][block], and so has `out`, which takes the last handle's output. seconds[0] is the
 * CPU time that this thread took, seconds[1] the time that passed; `block_seconds`, unless NULL, takes the time that
 * passed in each block (reading the clock adds some 20 ns to it). */
void neurig_measure(neurig_process process, void *const *handles, int count, int channels, const float *in, float *out,
                    int64_t frames, int block, double *seconds, float *block_seconds);
/* Multiply-adds of floats per second that one core can do at most, as measured in about a millisecond. */
double neurig_peak(void);

#ifdef __cplusplus
}
#endif
#endif
