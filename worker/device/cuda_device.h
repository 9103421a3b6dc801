#ifndef LOCKSTEP_WORKER_DEVICE_CUDA_DEVICE_H_
#define LOCKSTEP_WORKER_DEVICE_CUDA_DEVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/device/compute_device.h"

namespace lockstep::worker {

// One NVIDIA GPU; see OpenDevice. In a build without CUDA: FAILED_PRECONDITION naming the preset.
absl::StatusOr<std::unique_ptr<ComputeDevice>> OpenCudaDevice(LocalRank local_rank);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_CUDA_DEVICE_H_
