#include "server/scheduler/scheduler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/scheduler/invariant.h"

namespace lockstep::server {
namespace {

// So that a sequence that is alone always fits the KV cache.
bool HasAdmittedLengths(const EngineRequest& request, int32_t max_model_len) {
  const bool samples = request.logits == worker::v1::LOGITS_NONE;
  const int64_t num_new_tokens = samples ? request.max_new_tokens : 0;
  return !request.prompt.empty() && (!samples || num_new_tokens > 0) &&
         static_cast<int64_t>(request.prompt.size()) + num_new_tokens <= max_model_len;
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), least_work_(options.max_num_batched_tokens) {
  LOCKSTEP_INVARIANT(options.max_model_len > 0 && options.max_num_seqs > 0 &&
                         options.max_num_batched_tokens > 0 && options.block_size > 0 &&
                         options.max_steps_in_flight > 0,
                     "the scheduler's options were not validated");
  for (int32_t slot = 0; slot < options.max_num_seqs; ++slot) {
    free_slots_.push(static_cast<uint32_t>(slot));
  }
}

Scheduler::~Scheduler() = default;

void Scheduler::Start(uint32_t num_kv_blocks) {
  LOCKSTEP_INVARIANT(!started(), "the scheduler is started twice");
  LOCKSTEP_INVARIANT(num_kv_blocks >= options_.min_kv_blocks(),
                     "the KV cache does not hold one sequence of max_model_len");
  cache_ = std::make_unique<PrefixCache>(num_kv_blocks, options_.block_size);
  blocks_ =
      std::make_unique<BlockPool>(num_kv_blocks, [this](uint32_t block) { cache_->Erase(block); });
}

absl::Status Scheduler::Add(RequestHandle handle, std::shared_ptr<const EngineRequest> request) {
  LOCKSTEP_INVARIANT(HasAdmittedLengths(*request, options_.max_model_len),
                     "a request was not admitted: its prompt or answer has no tokens, or too many");
  auto owned = std::make_unique<Sequence>(handle, std::move(request));
  Sequence& sequence = *owned;
  SetCacheUse(sequence);
  absl::Duration least_work;
  // Nothing else asks for it, and to look for a long prompt in the cache takes time.
  if (sequence.request->deadline != absl::InfiniteFuture()) {
    least_work = LeastWorkOf(sequence, FindCached(sequence).size());
  }
  absl::Status status = CheckDeadline(sequence, least_work, sequence.request->arrival,
                                      /*is_alone=*/sequences_.empty());
  if (!status.ok()) return status;
  sequence.turn = TurnOf(*sequence.request, least_work);
  const bool inserted = sequences_.try_emplace(handle, std::move(owned)).second;
  LOCKSTEP_INVARIANT(inserted, "a request handle is used twice");
  if (sequence.request->deadline != absl::InfiniteFuture()) {
    deadlines_.emplace(sequence.request->deadline, handle);
  }
  JoinGroup(sequence);
  Enqueue(sequence);
  return absl::OkStatus();
}

absl::Status Scheduler::CheckQueue(size_t num_requests, int64_t num_tokens) const {
  const size_t num_after = num_waiting() + num_requests;
  if (num_after > static_cast<size_t>(options_.max_queued_requests) + free_slots_.size()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", num_waiting(), " requests wait (--max-queued-requests ",
                     options_.max_queued_requests, "): retry later"));
  }
  if (options_.max_queued_tokens == 0 || waiting_.empty()) return absl::OkStatus();
  // What the next step may begin does not wait.
  int64_t num_beginning = 0;
  if (started()) {
    num_beginning = NumTokensWithSlots() + (num_after <= free_slots_.size() ? num_tokens : 0);
    num_beginning = std::min(num_beginning, int64_t{blocks_->num_free()} * options_.block_size);
  }
  const int64_t num_left = num_waiting_tokens_ + num_tokens - num_beginning;
  if (num_left <= options_.max_queued_tokens) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the queue is full: with this request, ", num_left,
      " tokens would wait (--max-queued-tokens ", options_.max_queued_tokens, "): retry later"));
}

int64_t Scheduler::NumTokensWithSlots() const {
  int64_t num_tokens = 0;
  size_t num_slots = free_slots_.size();
  for (auto it = waiting_.begin(); it != waiting_.end() && num_slots > 0; ++it, --num_slots) {
    num_tokens += (*it)->num_known_tokens();
  }
  return num_tokens;
}

absl::Duration Scheduler::LeastWorkOf(const Sequence& sequence, size_t num_cached_blocks) const {
  const int32_t num_tokens =
      sequence.num_known_tokens() - static_cast<int32_t>(num_cached_blocks) * options_.block_size;
  // It may end with any token from the first that the request allows.
  const int32_t num_new_tokens =
      std::max(1, sequence.request->min_new_tokens - static_cast<int32_t>(sequence.answer.size()));
  return least_work_.Estimate(num_tokens, num_new_tokens);
}

absl::Status Scheduler::CheckDeadline(const Sequence& sequence, absl::Duration least_work,
                                      absl::Time now, bool is_alone) const {
  const absl::Duration left = sequence.request->deadline - now;
  if (left > least_work || (is_alone && left > absl::ZeroDuration())) return absl::OkStatus();
  if (left <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError("the deadline has passed: allow more time");
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "the deadline is in ", absl::FormatDuration(left), ", and the request takes ",
      absl::FormatDuration(least_work), " at least: allow more time, or shorten the prompt"));
}

void Scheduler::Finish(RequestHandle handle, v1::FinishReason reason, absl::Status status) {
  if (sequences_.contains(handle)) End(handle, reason, std::move(status));
}

std::optional<uint64_t> Scheduler::LastStepOf(RequestHandle handle) const {
  const auto it = sequences_.find(handle);
  return it == sequences_.end() ? std::nullopt : std::optional<uint64_t>(it->second->last_step);
}

void Scheduler::FinishAll(const absl::Status& status) {
  std::vector<RequestHandle> handles;
  for (const auto& [handle, sequence] : sequences_) handles.push_back(handle);
  // In the order of submission, not of hashes.
  std::sort(handles.begin(), handles.end());
  for (RequestHandle handle : handles) End(handle, v1::FINISH_REASON_UNSPECIFIED, status);
}

void Scheduler::Expire(absl::Time now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const Sequence& sequence = *sequences_.at(deadlines_.begin()->second);
    const bool scheduled = sequence.completion.first_scheduled != absl::InfinitePast();
    End(sequence.handle, v1::FINISH_REASON_UNSPECIFIED,
        absl::DeadlineExceededError(
            scheduled ? absl::StrCat("the deadline passed after ", sequence.answer.size(),
                                     " tokens of the answer")
                      : "the deadline passed while the request waited in the queue"));
  }
}

absl::Time Scheduler::NextDeadline() const {
  return deadlines_.empty() ? absl::InfiniteFuture() : deadlines_.begin()->first;
}

void Scheduler::Enqueue(Sequence& sequence) {
  waiting_.insert(&sequence);
  num_waiting_tokens_ += sequence.num_known_tokens();
}

void Scheduler::Dequeue(Sequence& sequence) {
  waiting_.erase(&sequence);
  num_waiting_tokens_ -= sequence.num_known_tokens();
}

void Scheduler::StopRunning(Sequence& sequence) {
  running_.erase(std::find(running_.begin(), running_.end(), &sequence));
  released_slots_.push_back(*sequence.slot);
  free_slots_.push(*sequence.slot);
  sequence.slot.reset();
  sequence.num_run = 0;
  BlockTable blocks = std::exchange(sequence.blocks, {});
  if (InFlight(sequence)) {
    StepInFlight& last_user = in_flight_[sequence.last_step - in_flight_.front().step];
    last_user.released_blocks.push_back(std::move(blocks));
  } else {
    ReleaseBlocks(blocks);
  }
}

void Scheduler::End(RequestHandle handle, v1::FinishReason reason, absl::Status status,
                    std::optional<int32_t> stop_token_id) {
  const auto it = sequences_.find(handle);
  const std::unique_ptr<Sequence> sequence = std::move(it->second);
  sequences_.erase(it);
  deadlines_.erase({sequence->request->deadline, handle});
  LeaveGroup(*sequence);
  if (sequence->running()) {
    StopRunning(*sequence);
  } else {
    Dequeue(*sequence);
  }
  Completion& completion = sequence->completion;
  if (status.ok()) completion.reason = reason;
  completion.status = std::move(status);
  completion.stop_token_id = stop_token_id;
  completion.num_completion_tokens = static_cast<int32_t>(sequence->answer.size());
  Emit(handle, std::move(completion));
}

}  // namespace lockstep::server
