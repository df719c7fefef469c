// A session driven by chance: gestures good and bad, changes of everything, clocks that jump, networks that fail. What a
// session promises must hold, whatever happens. Arguments: seconds of CPU, seed.
#include <time.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "checks.h"
#include "neurig.h"

// A network that does what networks should not, and counts what it is asked.
struct Network {
  std::minstd_rand &random;
  int dimension;
  bool wild;  // gives what nobody can play, or nothing
  long heard = 0, asked = 0;
  double last_dt = 0;
};

static neurig_network handle(Network &network) {
  return {network.dimension, &network,
          [](void *self, const double *frame) {
            auto &network = *static_cast<Network *>(self);
            network.heard++;
            must(frame[0] >= 0.001, "a gesture has a time step");
            for (int d = 1; d < network.dimension; d++) must(frame[d] >= 0 && frame[d] <= 1, "a gesture is from 0 to 1");
            return network.wild && network.random() % 50 == 0 ? -1 : 0;
          },
          [](void *self, double pi_temp, double sigma_temp, double *frame) {
            auto &network = *static_cast<Network *>(self);
            network.asked++;
            must(pi_temp > 0 && sigma_temp >= 0, "temperatures in range");
            for (int d = 0; d < network.dimension; d++) frame[d] = double(network.random() % 1000) / 900 - 0.05;
            if (network.wild && network.random() % 20 == 0)
              frame[network.random() % unsigned(network.dimension)] = std::numeric_limits<double>::quiet_NaN();
            if (network.wild && network.random() % 20 == 0) frame[0] = 1e308;
            return network.wild && network.random() % 50 == 0 ? -1 : 0;
          },
          [](void *) {}, [](void *, uint64_t) {}};
}

static void run(std::minstd_rand &random) {
  constexpr int kMostPending = 64;
  const auto chance = [&random](unsigned one_in) { return random() % one_in == 0; };
  const auto number = [&random]() { return double(random() % 100000) / 100000; };
  double now = number() * 1e6, since = now, latest = now;  // `since`: nothing older may be played; `latest`: was played
  neurig_session *session = neurig_session_new(2 + int(random() % 3), now, nullptr, 0);
  std::vector<Network> networks;
  for (int i = 0; i < 3; i++) networks.push_back({random, 2 + int(random() % 6), chance(4)});
  Network *network = nullptr;
  std::vector<double> values(8), frame(8);
  char reason[256];
  const double odd[] = {0, 1, 0.5, -1, 2, 1e300, std::nan(""), std::numeric_limits<double>::infinity()};
  const auto restart = [&] { since = latest = now; };

  for (int step = 0; step < 2000; step++) {
    now += chance(100) ? 100 * number() : chance(3) ? 0 : 0.02 * number();
    const int mode = neurig_session_mode(session);
    const bool running = neurig_session_running(session) && network;
    const bool answers = mode == NEURIG_MODE_POLYPHONY || mode == NEURIG_MODE_FILTER;
    if (!chance(3)) {  // a gesture
      for (double &value : values) value = chance(20) ? odd[random() % 8] : number();
      const int count = chance(20) || !network ? int(random() % 8) : network->dimension - 1;
      const long heard = network ? network->heard : 0, asked = network ? network->asked : 0;
      bool good = network && count == network->dimension - 1;
      for (int i = 0; good && i < count; i++) good = values[size_t(i)] >= -1e-3 && values[size_t(i)] <= 1 + 1e-3;
      const int taken = neurig_session_input(session, values.data(), count, now, frame.data(), reason, sizeof reason);
      must((taken == -1) == !good, "a bad gesture is refused, a good one is not");
      const bool listens = good && running && (mode == NEURIG_MODE_CALLRESPONSE || answers);
      if (network) {
        must(network->heard - heard == listens, "a gesture enters the network once");
        must(network->asked - asked <= (listens && answers), "an answer for a gesture");
        if (taken == -2) must(network->wild, "no network fails that is well");
      }
      if (taken != -1 && mode == NEURIG_MODE_CALLRESPONSE && running)
        must(neurig_session_due(session) >= now, "what was about to be played is not");
    } else if (chance(20)) {
      neurig_session_set_mode(session, int(random() % 7) - 1, now);
      if (neurig_session_mode(session) != mode) restart();
    } else if (chance(20)) {
      network = chance(5) ? nullptr : &networks[random() % 3];
      const neurig_network fresh = network ? handle(*network) : neurig_network{};
      must(neurig_session_replace(session, network ? &fresh : nullptr, now) == 0, "a network is taken");
      restart();
    } else if (chance(20)) {
      neurig_session_run(session, !chance(3), now);
    } else if (chance(30)) {
      neurig_session_reset(session, now);
      restart();
    } else if (chance(5)) {
      const int setting = int(random() % NEURIG_SESSION_SETTINGS);
      const double value = chance(2) ? odd[random() % 8] : number(), before = neurig_session_get(session, setting);
      if (neurig_session_set(session, setting, value) < 0)
        must(neurig_session_get(session, setting) == before, "what is refused changes nothing");
      else
        must(neurig_session_get(session, setting) == value, "what is taken is there");
    }

    double time;
    int played = 0, found;
    while ((found = neurig_session_advance(session, now, &time, frame.data())) > 0) {
      must(neurig_session_mode(session) != NEURIG_MODE_USERONLY && neurig_session_running(session), "not when silent");
      must(time >= since && time <= now, "nothing before its time, nothing that is stale");
      must(time >= latest, "in order");
      latest = time;
      must(frame[0] >= 0.001 && std::isfinite(frame[0]), "a time step");
      for (int d = 1; d < network->dimension; d++) must(frame[size_t(d)] >= 0 && frame[size_t(d)] <= 1, "from 0 to 1");
      must(++played <= (answers ? kMostPending : 1100), "no backlog");
    }
    if (found < 0) must(network->wild, "no network fails that is well");
    must(neurig_session_due(session) > now, "all that is due is played");
    must(neurig_session_advance(session, now, &time, frame.data()) == 0, "and a failure is told once");
  }
  neurig_session_free(session);
}

int main(int count, char **arguments) {
  if (count < 3) return std::fprintf(stderr, "usage: random_session SECONDS SEED\n"), 2;
  std::minstd_rand random(unsigned(std::atoi(arguments[2])));
  int rounds = 0;
  for (const double end = cpu_seconds() + std::atof(arguments[1]); cpu_seconds() < end; rounds++) run(random);
  std::printf("%d rounds\n", rounds);
}
