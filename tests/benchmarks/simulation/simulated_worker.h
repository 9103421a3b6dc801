// Workers that take modelled time and answer at once.
#ifndef LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_SIMULATED_WORKER_H_
#define LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_SIMULATED_WORKER_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/time/time.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "tests/benchmarks/simulation/step_cost.h"

namespace lockstep::simulation {

// Runs plans one after the other, in simulated time.
class SimulatedWorker {
 public:
  // `link` is the time that a result takes to come back, and a plan to arrive.
  SimulatedWorker(const PoolProfile& profile, int max_num_seqs, absl::Duration link);

  void Submit(const worker::v1::StepPlan& plan, absl::Time now);

  // When the oldest result that has not been taken is back; InfiniteFuture: none is under way.
  absl::Time NextResult() const;
  worker::v1::StepResult TakeResult();

  absl::Duration busy() const { return busy_; }
  // Time between steps that plans and results spent on their way: gaps of up to a round trip.
  absl::Duration starved() const { return starved_; }
  int64_t num_steps() const { return num_steps_; }
  int64_t num_rows() const { return num_rows_; }

 private:
  struct Slot {
    uint32_t num_known = 0;
    uint64_t seed = 0;
  };
  struct Pending {
    absl::Time back;
    worker::v1::StepResult result;
  };

  const PoolProfile& profile_;
  const absl::Duration link_;
  std::vector<Slot> slots_;
  std::deque<Pending> pending_;
  absl::Time free_at_ = absl::InfinitePast();
  absl::Duration busy_, starved_;
  int64_t num_steps_ = 0, num_rows_ = 0;
};

}  // namespace lockstep::simulation

#endif  // LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_SIMULATED_WORKER_H_
