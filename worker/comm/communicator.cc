#include "worker/comm/communicator.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"

namespace lockstep::worker {
namespace {

// How often a wait looks for failures, which call nobody back.
constexpr absl::Duration kLookInterval = absl::Milliseconds(20);

}  // namespace

absl::Status Communicator::Wait() {
  if (absl::Status status = Check(); !status.ok()) return status;
  const absl::StatusOr<std::shared_ptr<StreamMark>> mark = device_.Mark({});
  return mark.ok() ? WaitForMark(**mark) : mark.status();
}

absl::Status Communicator::WaitForMark(StreamMark& mark) {
  const absl::Time deadline = MonotonicNow() + timeout_;
  while (!mark.Await(kLookInterval)) {
    if (absl::Status status = Check(); !status.ok()) return status;
    if (absl::Status status = device_.Check(); !status.ok()) return status;
    if (MonotonicNow() >= deadline) {
      const char* peers =
          world_size() > 1 ? " or for another rank to take part in a collective" : "";
      return absl::DeadlineExceededError(absl::StrCat("rank ", rank(), " waited ",
                                                      absl::FormatDuration(timeout_), " for ",
                                                      device_.Describe(), peers));
    }
  }
  // Kernels also end when a peer has failed.
  return Check();
}

}  // namespace lockstep::worker
