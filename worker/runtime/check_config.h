#ifndef LOCKSTEP_WORKER_RUNTIME_CHECK_CONFIG_H_
#define LOCKSTEP_WORKER_RUNTIME_CHECK_CONFIG_H_

#include <c10/core/ScalarType.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// INVALID_ARGUMENT names the field of the configuration, its value and the limit. The device is
// OpenDevice's to refuse, the model's directory the checkpoint's.
absl::Status CheckConfig(const WorkerConfig& config, int rank, int world_size);

absl::StatusOr<c10::ScalarType> ParseDtype(const std::string& name);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_CHECK_CONFIG_H_
