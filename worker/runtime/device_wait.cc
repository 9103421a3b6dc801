#include "worker/runtime/device_wait.h"

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"

namespace lockstep::worker {
namespace {

// How often a wait looks for failures, which call nobody back.
constexpr absl::Duration kLookInterval = absl::Milliseconds(20);

}  // namespace

absl::Status WaitForDevice(Communicator& communicator, ComputeDevice& device) {
  absl::Status status = communicator.Wait();
  return status.ok() ? device.Synchronize() : status;
}

absl::Status WaitForMark(StreamMark& mark, Communicator& communicator, ComputeDevice& device,
                         absl::Duration timeout) {
  const absl::Time deadline = MonotonicNow() + timeout;
  while (!mark.Await(kLookInterval)) {
    if (absl::Status status = communicator.Check(); !status.ok()) return status;
    if (absl::Status status = device.Check(); !status.ok()) return status;
    if (MonotonicNow() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "rank ", communicator.rank(), " waited ", absl::FormatDuration(timeout), " for ",
          device.Describe(), " or for another rank to take part in a collective"));
    }
  }
  // Kernels also end when a peer has failed.
  return communicator.Check();
}

}  // namespace lockstep::worker
