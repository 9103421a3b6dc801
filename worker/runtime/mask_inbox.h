// Where masks wait for the step that samples under them.
#ifndef LOCKSTEP_WORKER_RUNTIME_MASK_INBOX_H_
#define LOCKSTEP_WORKER_RUNTIME_MASK_INBOX_H_

#include <cstdint>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
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
  // Whether Wait(step) has to wait no longer.
  bool IsDecided(uint64_t step) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::deque<TokenMasks> masks_ ABSL_GUARDED_BY(mutex_);  // in order of steps
  bool is_aborted_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_MASK_INBOX_H_
