#ifndef LOCKSTEP_WORKER_COMM_POLL_H_
#define LOCKSTEP_WORKER_COMM_POLL_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lockstep::worker {

// Asks `is_done` until it says true or fails, for things that nobody can be woken by: at first as
// often as the processor can, which suits what takes microseconds, then less and less often, down
// to every millisecond.
//
// DEADLINE_EXCEEDED, saying that `what` has not happened, when `timeout` has passed; is_done's
// error. It is asked at least once.
absl::Status PollUntil(absl::FunctionRef<absl::StatusOr<bool>()> is_done, absl::Duration timeout,
                       const std::string& what);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_POLL_H_
