#include "absl/strings/str_cat.h"
#include "worker/device/compute_device.h"
#include "worker/device/cpu_device.h"
#include "worker/device/cuda_device.h"

namespace lockstep::worker {

absl::StatusOr<std::unique_ptr<ComputeDevice>> OpenDevice(const std::string& name,
                                                          LocalRank local_rank) {
  if (name == "cpu") return std::make_unique<CpuDevice>(local_rank.world_size);
  if (name == "cuda") return OpenCudaDevice(local_rank);
  return absl::InvalidArgumentError(
      absl::StrCat("device is \"", name, "\"; it must be cpu or cuda"));
}

}  // namespace lockstep::worker
