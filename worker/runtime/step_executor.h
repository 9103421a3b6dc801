#ifndef LOCKSTEP_WORKER_RUNTIME_STEP_EXECUTOR_H_
#define LOCKSTEP_WORKER_RUNTIME_STEP_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// Called on Load's thread, at most about 20 times a second and once at the end.
using LoadProgressCallback = std::function<void(uint64_t bytes_loaded, uint64_t bytes_total)>;

// One rank's side of the pool: loads its shard, then carries out numbered steps together with the
// other ranks. Knows no transport.
//
// A step is begun and then finished. Where the device computes beside the host, the next step may
// be begun in between, so that the device goes on without a gap.
//
// Load, Start and what is about steps are called in that order from one thread at a time; AddMasks
// and Abort from any thread. After any error the executor is only fit to be destroyed, because
// ranks may no longer agree.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // Opens the device, reads the model's configuration and this rank's slices of the weights. Talks
  // to no other rank. INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION or DATA_LOSS name the file,
  // the tensor or field and the limit, or what the device lacks, or that the checkpoint is not the
  // frontend's; RESOURCE_EXHAUSTED when weights,
  // the largest step or the smallest useful KV cache do not fit.
  virtual absl::StatusOr<LoadedInfo> Load(const WorkerConfig& config, int rank, int world_size,
                                          LoadProgressCallback progress) = 0;

  // Allocates the KV cache, attaches to the other ranks, to which `communicator_handle` of rank 0's
  // LoadedInfo leads, and runs a self-test: collectives give the right sums, a forward pass gives
  // finite logits, all ranks agree on them. Returns when every rank has passed. DEADLINE_EXCEEDED
  // or UNAVAILABLE names the ranks that did not come.
  virtual absl::Status Start(uint64_t num_kv_blocks, const std::string& communicator_handle) = 0;

  // What Load and Start took, phase by phase, in order. After Start.
  virtual std::vector<StartPhase> start_phases() const { return {}; }

  // How many steps may have been begun and not finished; 1 where Begin carries the whole step out.
  virtual int max_steps_under_way() const { return 1; }

  // Whether the plan can only be begun when every step before it has been finished: it needs what
  // they chose. Before Begin.
  virtual bool NeedsFinishedSteps(const StepPlan& plan) const { return false; }

  // Hands the step to the device. Plans come in the order of their numbers, from 1. INTERNAL: the
  // plan breaks the contract of control_link.proto, or a kernel failed, here or on another rank.
  virtual absl::Status Begin(const StepPlan& plan) = 0;

  // Waits until the oldest step under way is done. Errors as Begin's; DEADLINE_EXCEEDED or
  // UNAVAILABLE where another rank did not take part. Precondition: a step is under way.
  virtual absl::StatusOr<StepResult> Finish() = 0;

  // Where several steps may be under way, `callback` is called, on any thread, for each step that
  // is done, so that Finish returns without waiting; not for one that fails. It must neither block
  // nor call the executor, and may still be called while the executor is destroyed. Before Start.
  virtual void OnStepDone(std::function<void()> callback) {}

  // Begin and Finish. Precondition: no step is under way.
  absl::StatusOr<StepResult> Execute(const StepPlan& plan) {
    if (absl::Status status = Begin(plan); !status.ok()) return status;
    return Finish();
  }

  // The masks of a plan with guided rows, on rank 0, before or while Begin carries it out: Begin
  // waits for them where it samples. From any thread.
  virtual void AddMasks(TokenMasks masks) = 0;

  // Makes a collective that is under way, and each later one, fail soon with CANCELLED, here and on
  // the other ranks.
  virtual void Abort() = 0;
};

std::unique_ptr<StepExecutor> MakeStepExecutor();

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_STEP_EXECUTOR_H_
