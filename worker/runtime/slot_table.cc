#include "worker/runtime/slot_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::worker {
namespace {

template <typename... Parts>
absl::Status BadPlan(uint64_t step, const Parts&... parts) {
  return absl::InternalError(absl::StrCat("step plan ", step, ": ", parts...));
}

}  // namespace

uint32_t NumPromptTokens(const AdmittedSlot& admitted) {
  const auto num_tokens = static_cast<uint32_t>(admitted.token_ids.size());
  const uint32_t num_prompt = admitted.sampling.num_prompt_tokens;
  const bool is_all_prompt = admitted.logits != LogitsRequest::kNone || num_prompt == 0;
  return is_all_prompt ? num_tokens : std::min(num_prompt, num_tokens);
}

SlotTable::SlotTable(const Limits& limits) : limits_(limits), slots_(limits.max_num_seqs) {}

absl::StatusOr<std::vector<Run>> SlotTable::Apply(const StepPlan& plan) {
  if (plan.step != last_step_ + 1) {
    return BadPlan(plan.step, "expected number ", last_step_ + 1);
  }
  last_step_ = plan.step;
  plan_hash_.Add(plan.step);
  plan_hash_.AddAll(plan.released_slots);
  for (const uint32_t index : plan.released_slots) {
    if (absl::Status status = Release(index); !status.ok()) return status;
  }
  for (const AdmittedSlot& admitted : plan.admitted) {
    if (absl::Status status = Admit(admitted); !status.ok()) return status;
  }
  std::vector<Run> runs;
  uint64_t num_tokens = 0;
  std::vector<bool> is_scheduled(slots_.size());
  for (const ScheduledSlot& scheduled : plan.scheduled) {
    absl::StatusOr<Run> run = Schedule(scheduled);
    if (!run.ok()) return run.status();
    if (is_scheduled[run->slot])
      return BadPlan(plan.step, "slot ", run->slot, " is scheduled twice");
    is_scheduled[run->slot] = true;
    num_tokens += run->num_tokens;
    runs.push_back(*run);
  }
  if (num_tokens > limits_.max_num_batched_tokens) {
    return BadPlan(plan.step, num_tokens, " tokens are scheduled; max_num_batched_tokens is ",
                   limits_.max_num_batched_tokens);
  }
  std::stable_partition(runs.begin(), runs.end(), [](const Run& run) { return run.is_decode; });
  return runs;
}

absl::Status SlotTable::Release(uint32_t index) {
  if (index >= slots_.size() || !slots_[index].is_in_use) {
    return BadPlan(last_step_, "slot ", index, " is released but not in use");
  }
  slots_[index] = Slot();
  return absl::OkStatus();
}

absl::Status SlotTable::Admit(const AdmittedSlot& admitted) {
  const uint32_t index = admitted.slot;
  if (index >= slots_.size() || slots_[index].is_in_use) {
    return BadPlan(last_step_, "slot ", index,
                   " is admitted but in use or not below max_num_seqs, ", slots_.size());
  }
  const size_t num_tokens = admitted.token_ids.size();
  if (num_tokens == 0 || num_tokens > limits_.max_model_len) {
    return BadPlan(last_step_, "slot ", index, " is admitted with ", num_tokens,
                   " tokens; allowed are 1 to ", limits_.max_model_len);
  }
  for (const uint32_t token : admitted.token_ids) {
    if (token >= limits_.vocab_size) {
      return BadPlan(last_step_, "slot ", index, " has token ", token, "; the vocabulary has ",
                     limits_.vocab_size);
    }
  }
  Slot& slot = slots_[index];
  slot.is_in_use = true;
  slot.admitted_at = last_step_;
  slot.token_ids = admitted.token_ids;
  slot.sampling = admitted.sampling;
  slot.logits = admitted.logits;
  slot.num_prompt_logprobs = admitted.num_prompt_logprobs;
  slot.num_prompt_tokens = NumPromptTokens(admitted);
  plan_hash_.Add(index);
  plan_hash_.AddAll(slot.token_ids);
  plan_hash_.Add(slot.num_prompt_tokens);
  return absl::OkStatus();
}

absl::StatusOr<Run> SlotTable::Schedule(const ScheduledSlot& scheduled) {
  const uint32_t index = scheduled.slot;
  if (index >= slots_.size() || !slots_[index].is_in_use) {
    return BadPlan(last_step_, "slot ", index, " is scheduled but not in use");
  }
  Slot& slot = slots_[index];
  const uint64_t end = uint64_t{scheduled.position} + scheduled.num_tokens;
  if (scheduled.num_tokens == 0 || end > slot.token_ids.size() || end > limits_.max_model_len) {
    return BadPlan(last_step_, "slot ", index, " is to run ", scheduled.num_tokens,
                   " tokens from position ", scheduled.position, "; it has ", slot.token_ids.size(),
                   " and max_model_len is ", limits_.max_model_len);
  }
  // The first run may begin behind a cached prefix; nothing may be skipped later.
  if (slot.next_position != 0 && scheduled.position > slot.next_position) {
    return BadPlan(last_step_, "slot ", index, " is to run from position ", scheduled.position,
                   ", but the tokens from ", slot.next_position, " have not run");
  }
  if (absl::Status status = AddBlocks(slot, scheduled); !status.ok()) return status;
  slot.next_position = static_cast<uint32_t>(end);
  plan_hash_.Add(index);
  plan_hash_.Add(scheduled.position);
  plan_hash_.Add(scheduled.num_tokens);
  plan_hash_.AddAll(scheduled.new_blocks);
  return Run{.slot = index,
             .position = scheduled.position,
             .num_tokens = scheduled.num_tokens,
             .is_decode = scheduled.num_tokens == 1 && scheduled.position >= slot.num_prompt_tokens,
             .reaches_end = end == slot.token_ids.size()};
}

absl::Status SlotTable::AddBlocks(Slot& slot, const ScheduledSlot& scheduled) {
  for (const uint32_t block : scheduled.new_blocks) {
    if (block >= limits_.num_kv_blocks) {
      return BadPlan(last_step_, "slot ", scheduled.slot, " gets block ", block, "; there are ",
                     limits_.num_kv_blocks);
    }
    slot.blocks.push_back(static_cast<int32_t>(block));
  }
  const uint64_t end = uint64_t{scheduled.position} + scheduled.num_tokens;
  if (end > slot.blocks.size() * uint64_t{limits_.block_size}) {
    return BadPlan(last_step_, "slot ", scheduled.slot, " is to run up to position ", end,
                   ", but its ", slot.blocks.size(), " blocks hold ", limits_.block_size,
                   " tokens each");
  }
  return absl::OkStatus();
}

SlotTable::TokenPlace SlotTable::AppendPending(uint32_t slot) {
  Slot& appended = slots_[slot];
  appended.token_ids.push_back(kPendingToken);
  return {
      .slot = slot, .admitted_at = appended.admitted_at, .index = appended.token_ids.size() - 1};
}

void SlotTable::Resolve(const TokenPlace& place, uint32_t token_id) {
  Slot& slot = slots_[place.slot];
  if (slot.is_in_use && slot.admitted_at == place.admitted_at) {
    slot.token_ids[place.index] = token_id;
  }
  token_hash_.Add(place.slot);
  token_hash_.Add(token_id);
}

uint64_t SlotTable::StateHashAfter(uint64_t plan_hash) const {
  StateHash both = token_hash_;
  both.Add(plan_hash);
  return both.value();
}

}  // namespace lockstep::worker
