#ifndef LOCKSTEP_WORKER_RUNTIME_STEP_PROFILER_H_
#define LOCKSTEP_WORKER_RUNTIME_STEP_PROFILER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "worker/device/compute_device.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// Writes what the device did during some steps to PROFILE_DIR/rank-R-step-N.json, N being the first
// of them.
class StepProfiler {
 public:
  // Borrows both.
  StepProfiler(const WorkerConfig& config, int rank, ComputeDevice& device);

  // To be called before step `step` is begun. A profile that cannot be made or written does not
  // fail the step: it is said on stderr, and there are no more.
  void BeforeStep(uint64_t step);

 private:
  absl::Status Advance(uint64_t step);
  std::string Path() const;

  const WorkerConfig& config_;
  const int rank_;
  ComputeDevice& device_;
  size_t next_ = 0;  // of config_.profiles
  bool is_running_ = false;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_STEP_PROFILER_H_
