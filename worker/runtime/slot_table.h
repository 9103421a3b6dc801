#ifndef LOCKSTEP_WORKER_RUNTIME_SLOT_TABLE_H_
#define LOCKSTEP_WORKER_RUNTIME_SLOT_TABLE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/runtime/state_hash.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// Stands for a token that has been sampled on the device and has not come to the host.
inline constexpr uint32_t kPendingToken = UINT32_MAX;

// What the plans have said about one slot.
struct Slot {
  bool is_in_use = false;
  uint64_t admitted_at = 0;  // the step
  // Named by plans or sampled. The last one may be kPendingToken.
  std::vector<uint32_t> token_ids;
  std::vector<int32_t> blocks;
  SamplingParameters sampling;
  LogitsRequest logits = LogitsRequest::kNone;
  std::optional<uint32_t> num_prompt_logprobs;
  uint32_t num_prompt_tokens = 0;  // as NumPromptTokens
  // Tokens before this position have run in this slot, or came with blocks of a cached prefix.
  uint32_t next_position = 0;
};

// How many of its tokens count as prompt; all of them where logits are asked for.
uint32_t NumPromptTokens(const AdmittedSlot& admitted);

// Consecutive tokens of one slot to run in a step.
struct Run {
  uint32_t slot = 0;
  uint32_t position = 0;
  uint32_t num_tokens = 0;
  // A single generated token, as opposed to a piece of a prompt.
  bool is_decode = false;
  // The run ends with the slot's last known token.
  bool reaches_end = false;
};

// This rank's mirror of the slots, changed by plans and sampled tokens alone, alike on every rank.
class SlotTable {
 public:
  struct Limits {
    uint32_t max_num_seqs = 0;
    uint32_t max_num_batched_tokens = 0;
    uint32_t max_model_len = 0;
    uint32_t block_size = 0;
    uint64_t num_kv_blocks = 0;
    uint64_t vocab_size = 0;
  };

  explicit SlotTable(const Limits& limits);

  // Carries out a plan's changes and returns what is to run, decodes first. INTERNAL, naming slot,
  // value and limit, for a plan that breaks the contract; the table is then unusable.
  absl::StatusOr<std::vector<Run>> Apply(const StepPlan& plan);

  // Of a token that has been appended.
  struct TokenPlace {
    uint32_t slot = 0;
    uint64_t admitted_at = 0;
    size_t index = 0;  // in the slot's token_ids
  };

  // Makes room for a token that is being sampled for `slot`: kPendingToken until Resolve.
  TokenPlace AppendPending(uint32_t slot);

  // The token that was sampled for the place; the slot may have another sequence by now. Tokens are
  // resolved in the order in which they were appended.
  void Resolve(const TokenPlace& place, uint32_t token_id);

  // A token that was sampled for `slot`.
  void Append(uint32_t slot, uint32_t token_id) { Resolve(AppendPending(slot), token_id); }

  const Slot& slot(uint32_t index) const { return slots_[index]; }

  // Of all plans that were applied.
  uint64_t plan_hash() const { return plan_hash_.value(); }
  // Of the state after a step: `plan_hash` as it was when the step's plan had been applied, and all
  // tokens that have been resolved. Apart, because the next plan may be applied before or after the
  // step's tokens have come.
  uint64_t StateHashAfter(uint64_t plan_hash) const;

 private:
  absl::Status Release(uint32_t index);
  absl::Status Admit(const AdmittedSlot& admitted);
  absl::StatusOr<Run> Schedule(const ScheduledSlot& scheduled);
  absl::Status AddBlocks(Slot& slot, const ScheduledSlot& scheduled);

  const Limits limits_;
  std::vector<Slot> slots_;
  StateHash plan_hash_;
  StateHash token_hash_;
  uint64_t last_step_ = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_SLOT_TABLE_H_
