// The GPU in a build without CUDA.
#include "worker/device/cuda_device.h"

namespace lockstep::worker {

absl::StatusOr<std::unique_ptr<ComputeDevice>> OpenCudaDevice(LocalRank local_rank) {
  return absl::FailedPreconditionError(
      "device is \"cuda\", and this lockstep-worker is built for the CPU alone: build one with "
      "scripts/setup --cuda, cmake --preset cuda and ninja -C build/cuda, or use --device cpu");
}

}  // namespace lockstep::worker
