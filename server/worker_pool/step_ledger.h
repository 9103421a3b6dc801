// The steps under way: who has answered, and whether they agree.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_STEP_LEDGER_H_
#define LOCKSTEP_SERVER_WORKER_POOL_STEP_LEDGER_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/worker_pool/step_result.h"

namespace lockstep::server {

// A state machine without a clock or a lock of its own. After an error it is only fit to be
// destroyed.
class StepLedger {
 public:
  explicit StepLedger(uint32_t world_size)
      : num_answered_(world_size, 0), world_size_(world_size) {}

  // INTERNAL if `step` is not the one after the last.
  absl::Status Submit(uint64_t step, absl::Time now);

  // One message from a rank; moves the results that are complete now, in order of steps, to the end
  // of `complete`: rank 0's, with the shards of logits of all ranks and the longest duration.
  // INTERNAL names the rank and the step: an answer out of order, a state hash that differs from
  // the other ranks', or logits of other rows.
  absl::Status Answer(uint32_t rank, StepResult result, absl::Time now,
                      std::vector<StepResult>& complete);

  bool is_idle() const { return pending_.empty(); }
  // The oldest step that some rank has not answered, since when it has been that, and those ranks.
  // Not when idle.
  uint64_t oldest_step() const { return num_complete_ + 1; }
  absl::Time oldest_since() const { return oldest_since_; }
  std::vector<uint32_t> RanksWithoutAnswer() const;

  // The last step that a rank has answered; 0 if none.
  uint64_t LastStep(uint32_t rank) const { return num_answered_[rank]; }

 private:
  struct PendingStep {
    std::vector<StepResult> answers;  // [world_size], their parts joined
    uint32_t num_answers = 0;
  };

  absl::Status CheckAgreement(const PendingStep& step) const;
  absl::StatusOr<StepResult> Join(PendingStep step) const;

  std::deque<PendingStep> pending_;     // from step num_complete_ + 1
  std::vector<uint64_t> num_answered_;  // [world_size]
  const uint32_t world_size_;
  uint64_t num_complete_ = 0;
  absl::Time oldest_since_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_STEP_LEDGER_H_
