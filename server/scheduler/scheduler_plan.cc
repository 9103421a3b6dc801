// How the scheduler makes a plan: decodes first, then prefills, of those that run and of those that
// wait, in one order.
#include <algorithm>

#include "server/scheduler/invariant.h"
#include "server/scheduler/scheduler.h"

namespace lockstep::server {

std::optional<worker::v1::StepPlan> Scheduler::Schedule(absl::Time now) {
  if (!started() || in_flight_.size() >= static_cast<size_t>(options_.max_steps_in_flight)) {
    return std::nullopt;
  }
  Draft draft;
  draft.step.step = last_planned_step_ + 1;
  ScheduleDecodes(draft);
  SchedulePrefills(draft, now);
  if (draft.step.rows.empty()) return std::nullopt;

  worker::v1::StepPlan& plan = draft.plan;
  plan.set_step(++last_planned_step_);
  plan.mutable_released_slots()->Add(released_slots_.begin(), released_slots_.end());
  released_slots_.clear();
  for (worker::v1::ScheduledSlot& prefill : draft.prefills) {
    *plan.add_scheduled() = std::move(prefill);
  }
  in_flight_.push_back(std::move(draft.step));
  return std::move(plan);
}

void Scheduler::ScheduleDecodes(Draft& draft) {
  int32_t budget = options_.max_num_batched_tokens;
  // Preemption takes from the end of running_, at or behind `i`: what has a row in this plan keeps
  // it.
  for (size_t i = 0; i < running_.size() && budget > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (NumRunnable(sequence) != 1) continue;
    std::optional<BlockTable> new_blocks = TakeBlocks(sequence, sequence.num_run + 1);
    if (!new_blocks.has_value()) {
      draft.short_of_blocks = true;
      continue;
    }
    --budget;
    AddRow(sequence, 1, *std::move(new_blocks), draft);
  }
  draft.prefill_budget = budget;
}

void Scheduler::SchedulePrefills(Draft& draft, absl::Time now) {
  std::vector<Sequence*> running;
  for (Sequence* sequence : running_) {
    if (NumRunnable(*sequence) > 1) running.push_back(sequence);
    if (sequence->samples()) ++draft.num_sampling;
  }
  // One order for both, so that a long prompt that has begun is overtaken by just those that would
  // overtake it if it had not. Those that wait are admitted strictly in order: a short request does
  // not overtake a long one, which would otherwise starve.
  auto next_running = running.begin();
  auto next_waiting = draft.short_of_blocks ? waiting_.end() : waiting_.begin();
  while (draft.prefill_budget > 0) {
    const bool any_running = next_running != running.end();
    if (next_waiting != waiting_.end() &&
        (!any_running || ScheduledBefore()(*next_waiting, *next_running))) {
      Sequence& sequence = **next_waiting++;
      if (!AdmitNext(sequence, draft, now)) next_waiting = waiting_.end();
    } else if (any_running) {
      Sequence& sequence = **next_running++;
      const int32_t num_tokens = std::min(NumRunnable(sequence), draft.prefill_budget);
      draft.prefill_budget -= num_tokens;
      // It has had the blocks of all its tokens since it was admitted.
      AddRow(sequence, num_tokens, {}, draft);
    } else {
      return;
    }
  }
}

int32_t Scheduler::NumRunnable(const Sequence& sequence) const {
  const int32_t num_runnable = sequence.num_known_tokens() - sequence.num_run;
  // The last token of an answer is never run: nothing follows it.
  if (!sequence.has_next_mask()) return 0;
  const bool answered =
      sequence.samples() && sequence.num_known_tokens() - sequence.num_prompt_tokens() >=
                                sequence.request->max_new_tokens;
  return answered ? 0 : num_runnable;
}

std::optional<BlockTable> Scheduler::TakeBlocks(Sequence& sequence, int32_t num_positions) {
  const int32_t num_held = static_cast<int32_t>(sequence.blocks.size());
  const int32_t num_missing = std::max(0, NumBlocksFor(num_positions) - num_held);
  while (blocks_->num_free() < static_cast<uint32_t>(num_missing)) {
    // Preempting more would cost work, and bring nothing sooner.
    if (BlocksReturnWithStepsInFlight()) return std::nullopt;
    Sequence& last = *running_.back();
    Preempt(last);
    if (&last == &sequence) return std::nullopt;
  }
  return AllocateBlocks(static_cast<uint32_t>(num_missing));
}

BlockTable Scheduler::AllocateBlocks(uint32_t num_blocks) {
  BlockTable blocks;
  blocks.reserve(num_blocks);
  for (uint32_t i = 0; i < num_blocks; ++i) blocks.push_back(blocks_->Allocate());
  return blocks;
}

bool Scheduler::BlocksReturnWithStepsInFlight() const {
  return std::any_of(in_flight_.begin(), in_flight_.end(),
                     [](const StepInFlight& step) { return !step.released_blocks.empty(); });
}

void Scheduler::Preempt(Sequence& sequence) {
  ++num_preemptions_;
  Emit(sequence.handle, PreemptedEvent{sequence.num_run});
  StopRunning(sequence);
  Enqueue(sequence);
}

void Scheduler::SetMaskPosition(RequestHandle handle, int32_t position) {
  const auto it = sequences_.find(handle);
  if (it != sequences_.end()) it->second->mask_position = position;
}

void Scheduler::HoldBack(RequestHandle handle) {
  const auto it = sequences_.find(handle);
  if (it == sequences_.end()) return;
  Sequence& sequence = *it->second;
  ++num_held_back_;
  if (sequence.running()) {
    StopRunning(sequence);
  } else {
    Dequeue(sequence);
  }
  DropSamples(sequence);
  sequence.waits_for_mask = true;
  Enqueue(sequence);
}

void Scheduler::DropSamples(Sequence& sequence) {
  for (StepInFlight& step : in_flight_) {
    for (Row& row : step.rows) {
      if (row.handle != sequence.handle || !row.samples) continue;
      row.handle = 0;
      --sequence.num_pending_tokens;
    }
  }
}

bool Scheduler::AdmitNext(Sequence& sequence, Draft& draft, absl::Time now) {
  if (free_slots_.empty()) return false;
  // Only what waits for its own group's prompt, or for its own mask, lets others pass.
  if (HeldByGroup(sequence) || !sequence.has_next_mask()) return true;
  // Preempted a moment ago: what the steps in flight report still belongs to its tokens.
  if (InFlight(sequence)) return false;
  const std::vector<uint32_t> cached = FindCached(sequence);
  absl::Status hopeless = CheckDeadline(sequence, LeastWorkOf(sequence, cached.size()), now,
                                        /*is_alone=*/sequences_.size() == 1);
  if (!hopeless.ok()) {
    End(sequence.handle, v1::FINISH_REASON_UNSPECIFIED, std::move(hopeless));
    return true;
  }
  if (!CanAdmit(sequence, cached, draft.num_sampling)) return false;
  Admit(sequence, cached, draft, now);
  if (sequence.samples()) ++draft.num_sampling;
  return true;
}

bool Scheduler::CanAdmit(const Sequence& sequence, const std::vector<uint32_t>& cached,
                         size_t num_sampling) const {
  // All blocks of the tokens that it has, so that a prefill, once begun, is not stopped by a lack
  // of blocks; and one more for each sequence that grows, so that admitting does not lead straight
  // to preempting.
  const auto num_cached_free =
      static_cast<size_t>(std::count_if(cached.begin(), cached.end(), [this](uint32_t block) {
        return blocks_->num_references(block) == 0;
      }));
  return blocks_->num_free() - num_cached_free >=
         static_cast<size_t>(NumBlocksFor(sequence.num_known_tokens())) - cached.size() +
             num_sampling;
}

void Scheduler::Admit(Sequence& sequence, const std::vector<uint32_t>& cached, Draft& draft,
                      absl::Time now) {
  Dequeue(sequence);
  running_.insert(std::upper_bound(running_.begin(), running_.end(), &sequence, ScheduledBefore()),
                  &sequence);
  sequence.slot = free_slots_.top();
  free_slots_.pop();

  worker::v1::AdmittedSlot& admitted = *draft.plan.add_admitted();
  admitted.set_slot(*sequence.slot);
  admitted.mutable_token_ids()->Reserve(sequence.num_known_tokens());
  admitted.mutable_token_ids()->Add(sequence.request->prompt.begin(),
                                    sequence.request->prompt.end());
  admitted.mutable_token_ids()->Add(sequence.answer.begin(), sequence.answer.end());
  *admitted.mutable_sampling() = sequence.request->sampling;
  admitted.set_logits(sequence.request->logits);
  if (sequence.request->num_prompt_logprobs.has_value()) {
    admitted.set_num_prompt_logprobs(*sequence.request->num_prompt_logprobs);
  }

  // The cached blocks first: they are not reused while they are referenced.
  BlockTable blocks;
  for (uint32_t block : cached) blocks.push_back(blocks_->Share(block));
  for (auto n = static_cast<int32_t>(cached.size()); n < NumBlocksFor(sequence.num_known_tokens());
       ++n) {
    blocks.push_back(blocks_->Allocate());
  }
  sequence.num_run = static_cast<int32_t>(cached.size()) * options_.block_size;
  sequence.num_cached_blocks = cached.size();
  sequence.last_cached_node = cached.empty() ? PrefixCache::kRoot : cache_->node(cached.back());

  if (sequence.completion.first_scheduled == absl::InfinitePast()) {
    sequence.completion.first_scheduled = now;
    sequence.completion.num_cached_tokens = sequence.num_run;
    if (sequence.reads_cache) {
      num_cache_queries_ += sequence.request->prompt.size();
      num_cache_hits_ += static_cast<uint64_t>(sequence.num_run);
    }
    Emit(sequence.handle, ScheduledEvent{sequence.completion.num_cached_tokens});
  }
  const int32_t num_tokens =
      std::min(sequence.num_known_tokens() - sequence.num_run, draft.prefill_budget);
  draft.prefill_budget -= num_tokens;
  AddRow(sequence, num_tokens, std::move(blocks), draft);
}

void Scheduler::AddRow(Sequence& sequence, int32_t num_tokens, BlockTable new_blocks,
                       Draft& draft) {
  const Row row = ExpectedRow(sequence, num_tokens);
  const bool at_end = sequence.num_run + num_tokens == sequence.num_known_tokens();
  worker::v1::ScheduledSlot& scheduled =
      num_tokens == 1 && at_end ? *draft.plan.add_scheduled() : draft.prefills.emplace_back();
  scheduled.set_slot(*sequence.slot);
  scheduled.set_position(static_cast<uint32_t>(sequence.num_run));
  scheduled.set_num_tokens(static_cast<uint32_t>(num_tokens));
  for (BlockRef& block : new_blocks) {
    scheduled.add_new_blocks(block.block());
    sequence.blocks.push_back(std::move(block));
  }
  draft.step.rows.push_back(row);
  if (row.num_logits > 1 || row.num_prompt_tokens > 0) draft.step.reports_logits = true;
  if (row.samples && sequence.request->guide != nullptr) {
    scheduled.set_guided(true);
    guided_rows_.push_back({draft.step.step, sequence.handle, *sequence.slot, row.end});
  }

  const bool decode = num_tokens == 1 && sequence.num_run >= sequence.num_prompt_tokens();
  (decode ? draft.step.num_decode_tokens : draft.step.num_prefill_tokens) += num_tokens;
  const int32_t num_known = std::min(sequence.num_ever_run, sequence.num_run + num_tokens);
  draft.step.num_recomputed_tokens += std::max(0, num_known - sequence.num_run);
  sequence.last_step = draft.step.step;
  sequence.num_run += num_tokens;
  if (row.samples) ++sequence.num_pending_tokens;
  const auto in_prompt = [&](int32_t end) { return std::min(end, sequence.num_prompt_tokens()); };
  const int32_t num_ever_run = std::max(sequence.num_ever_run, sequence.num_run);
  num_prompt_tokens_ +=
      static_cast<uint64_t>(in_prompt(num_ever_run) - in_prompt(sequence.num_ever_run));
  sequence.num_ever_run = num_ever_run;
}

Scheduler::Row Scheduler::ExpectedRow(const Sequence& sequence, int32_t num_tokens) const {
  const int32_t end = sequence.num_run + num_tokens;
  const bool at_end = end == sequence.num_known_tokens();
  Row row{.handle = sequence.handle, .slot = *sequence.slot};
  row.samples = sequence.samples() && at_end;
  if (sequence.request->logits == worker::v1::LOGITS_ALL) {
    row.num_logits = num_tokens;
  } else if (sequence.request->logits == worker::v1::LOGITS_LAST && at_end) {
    row.num_logits = 1;
  }
  row.position = end - row.num_logits;
  row.end = end;
  if (sequence.request->num_prompt_logprobs.has_value()) {
    // The logits of one position are about the token at the next.
    row.first_prompt_token = sequence.num_run + 1;
    row.num_prompt_tokens =
        std::max(0, std::min(end, sequence.num_prompt_tokens() - 1) - sequence.num_run);
  }
  return row;
}

}  // namespace lockstep::server
