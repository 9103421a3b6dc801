// NCCL in a build without CUDA, where no rank is on a GPU.
#include "worker/comm/nccl_communicator.h"

namespace lockstep::worker {
namespace {

absl::Status NotBuilt() {
  return absl::FailedPreconditionError("this build cannot connect GPUs; configure the preset cuda");
}

}  // namespace

absl::StatusOr<std::string> MakeNcclHandle() { return NotBuilt(); }

absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(
    const CommunicatorOptions& options) {
  return NotBuilt();
}

}  // namespace lockstep::worker
