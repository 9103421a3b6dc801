// Where masks wait for the step that samples under them.
#ifndef LOCKSTEP_WORKER_RUNTIME_MASK_INBOX_H_
#define LOCKSTEP_WORKER_RUNTIME_MASK_INBOX_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// Thread-safe.
class MaskInbox {
 public:
  void Add(TokenMasks masks);

  // The masks of `step`; those of earlier steps are dropped. DEADLINE_EXCEEDED after `timeout`,
  // CANCELLED after Abort.
  absl::StatusOr<TokenMasks> Wait(uint64_t step, absl::Duration timeout);

  // Ends a Wait that is under way, and each later one.
  void Abort();

 private:
  // Whether Wait(step) has to wait no longer. With mutex_ held.
  bool IsDecided(uint64_t step) const;

  // Not absl's, whose waits end by the wall clock.
  std::mutex mutex_;
  std::condition_variable changed_;
  // The rest under mutex_.
  std::deque<TokenMasks> masks_;  // in order of steps
  bool is_aborted_ = false;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_MASK_INBOX_H_
