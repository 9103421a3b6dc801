// What happened to the requests of a simulation.
#ifndef LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_MEASUREMENTS_H_
#define LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_MEASUREMENTS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/scheduler/completion.h"
#include "tests/benchmarks/simulation/step_cost.h"
#include "tests/benchmarks/simulation/workload.h"

namespace lockstep::simulation {

// Seconds.
struct Percentiles {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};
// Reorders `values`. Zeros where there are none.
Percentiles MakePercentiles(std::vector<float>& values);

// (Σx)² / (n · Σx²): 1 when all are served alike, 1/n when one has all (Jain et al. 1984). 1 for
// nothing.
double JainIndex(const std::vector<double>& values);

class Measurements {
 public:
  Measurements(const PoolProfile& profile, int num_tenants);

  void OnRefused() { ++num_refused_; }
  void OnDone(const SimulatedRequest& request, const server::Completion& completion,
              absl::Time now);

  struct Summary {
    int64_t completed = 0, refused = 0, deadline_exceeded = 0, cancelled = 0, failed = 0;
    int64_t within_objective =
        0;  // completed, with time to first token and per token as the profile's users want
    Percentiles queue, ttft, tpot, e2e;
    // Queue time by priority -1, 0, 1, and by prompt length: up to 512 tokens, up to 2048, longer.
    std::array<Percentiles, 3> queue_by_priority, queue_by_length;
    // Jain's index over the tenants of how many times longer than alone on the pool their requests
    // took.
    double fairness_over_tenants = 1;
  };
  // Call once.
  Summary Summarize();

 private:
  double AloneSeconds(const server::EngineRequest& request, int32_t num_tokens) const;

  const PoolProfile& profile_;
  Summary counts_;
  int64_t num_refused_ = 0;
  std::vector<float> queue_, ttft_, tpot_, e2e_;
  std::array<std::vector<float>, 3> queue_by_priority_, queue_by_length_;
  std::vector<double> slowdown_;       // [num_tenants], sums
  std::vector<int64_t> num_slowdown_;  // [num_tenants]
};

}  // namespace lockstep::simulation

#endif  // LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_MEASUREMENTS_H_
