#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "worker/comm/communicator.h"
#include "worker/comm/local_communicator.h"
#include "worker/comm/nccl_communicator.h"
#include "worker/comm/shm_communicator.h"

namespace lockstep::worker {
namespace {

constexpr size_t kMaxIdLength = 200;

absl::Status CheckOptions(const CommunicatorOptions& options) {
  const int max_ranks = options.device->device().is_cpu() ? kMaxShmRanks : kMaxNcclRanks;
  if (options.world_size < 1 || options.world_size > max_ranks) {
    return absl::InvalidArgumentError(absl::StrCat("the number of ranks is ", options.world_size,
                                                   "; it must be from 1 to ", max_ranks));
  }
  if (options.rank < 0 || options.rank >= options.world_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the rank is ", options.rank, "; it must be from 0 to ", options.world_size - 1));
  }
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the timeout of collectives must be positive");
  }
  if (options.device->device().is_cuda()) return absl::OkStatus();  // the id is shared memory's
  const std::string& id = options.communicator_id;
  if (id.empty() || id.size() > kMaxIdLength || id.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("the communicator id \"", id,
                                                   "\" must have 1 to ", kMaxIdLength,
                                                   " characters and no slash"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> MakeCommunicatorHandle(at::Device device, int world_size) {
  if (device.is_cpu() || world_size == 1) return "";
  return MakeNcclHandle();
}

absl::StatusOr<std::unique_ptr<Communicator>> CreateCommunicator(
    const CommunicatorOptions& options) {
  if (options.world_size == 1)
    return std::make_unique<LocalCommunicator>(*options.device, options.timeout);
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  if (options.device->device().is_cuda()) return CreateNcclCommunicator(options);
  return ShmCommunicator::Create(options);
}

}  // namespace lockstep::worker
