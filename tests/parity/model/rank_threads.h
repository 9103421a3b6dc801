// The ranks of a pool as threads of the test's process, over the real communicator.

#ifndef LOCKSTEP_TESTS_PARITY_MODEL_RANK_THREADS_H_
#define LOCKSTEP_TESTS_PARITY_MODEL_RANK_THREADS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/runtime/step_executor.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::testing {

// A configuration for small models: blocks of 8 tokens, float32, one thread per rank.
worker::WorkerConfig SmallWorkerConfig(const std::string& model_dir);

class RankThreads {
 public:
  using MakeExecutor = std::function<std::unique_ptr<worker::StepExecutor>()>;

  // Loads and starts `world_size` executors. The communicator's id is chosen here.
  static absl::StatusOr<std::unique_ptr<RankThreads>> Start(
      worker::WorkerConfig config, int world_size,
      const MakeExecutor& make_executor = &worker::MakeStepExecutor);

  // Carries out the plan, numbered here, on all ranks. The first error of any rank; INTERNAL when
  // the ranks' state hashes differ. The result is rank 0's, with the logits of all ranks.
  absl::StatusOr<worker::StepResult> Execute(worker::StepPlan plan);

  // Carries out the plans, numbered here, as a worker does that has them all: as many steps under
  // way as the executors allow. As Execute otherwise.
  absl::StatusOr<std::vector<worker::StepResult>> ExecuteAhead(std::vector<worker::StepPlan> plans);

  const worker::LoadedInfo& loaded(int rank) const { return loaded_[static_cast<size_t>(rank)]; }
  worker::StepExecutor& executor(int rank) { return *executors_[static_cast<size_t>(rank)]; }
  int world_size() const { return static_cast<int>(executors_.size()); }

 private:
  // Runs `body(rank)` on a thread per rank and returns the first error.
  absl::Status OnAllRanks(const std::function<absl::Status(int)>& body);
  // INTERNAL when the ranks' results of a step do not belong together.
  static absl::Status CheckAgreement(const std::vector<worker::StepResult>& results, uint64_t step);
  // Rank 0's result with the columns of logits that the other ranks report.
  static worker::StepResult Join(std::vector<worker::StepResult> results);

  std::vector<std::unique_ptr<worker::StepExecutor>> executors_;
  std::vector<worker::LoadedInfo> loaded_;
  uint64_t last_step_ = 0;
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_PARITY_MODEL_RANK_THREADS_H_
