// The real scheduler against a modelled worker, in simulated time.
#ifndef LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_SIMULATION_H_
#define LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/scheduler/scheduler.h"
#include "tests/benchmarks/simulation/measurements.h"
#include "tests/benchmarks/simulation/step_cost.h"
#include "tests/benchmarks/simulation/workload.h"

namespace lockstep::simulation {

struct SimulationOptions {
  PoolProfile profile;
  WorkloadOptions workload;
  server::SchedulerOptions scheduler;
  // From the frontend to the workers or back.
  absl::Duration link = absl::Microseconds(150);
};

struct SimulationResult {
  Measurements::Summary requests;
  absl::Duration simulated;  // from the first arrival to the last end
  absl::Duration busy;       // of the workers
  absl::Duration starved;    // of the workers, waiting for a plan that was on its way
  int64_t num_steps = 0, num_rows = 0;
  uint64_t num_prompt_tokens = 0, num_generated_tokens = 0, num_preemptions = 0;
  int64_t num_cached_tokens = 0;
  double mean_kv_use = 0;  // of the blocks, over the steps
  // Real time, in the scheduler alone.
  absl::Duration scheduling;
};

// Runs every request to its end. `progress` is called now and then with the number of requests that
// have arrived. INTERNAL when the scheduler refuses a result, or does not end a request.
absl::StatusOr<SimulationResult> Simulate(const SimulationOptions& options,
                                          const std::function<void(int64_t)>& progress);

}  // namespace lockstep::simulation

#endif  // LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_SIMULATION_H_
