// How the scheduler takes in a step's result.
#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/scheduler/scheduler.h"

namespace lockstep::server {
namespace {

bool Contains(const std::vector<int32_t>& token_ids, int32_t token_id) {
  return std::find(token_ids.begin(), token_ids.end(), token_id) != token_ids.end();
}

absl::Status BadResult(uint64_t step, absl::string_view what) {
  return absl::InternalError(absl::StrCat("the result of step ", step, " ", what));
}

// A request whose logits are not finite, by what its own tokens or weights are; the others go on.
absl::Status LogitsNotFinite(uint32_t position) {
  return absl::InternalError(absl::StrCat(
      "the model's logits for the token at position ", position,
      " are not finite: weights are damaged or were never trained, or they overflow the dtype; "
      "try bfloat16 or float32"));
}

// Takes up to `num_rows` rows from the front.
void DropRows(SlotLogits& logits, int32_t num_rows) {
  const uint32_t num_dropped = std::min(static_cast<uint32_t>(num_rows), logits.num_rows);
  if (num_dropped == 0) return;
  for (LogitShard& shard : logits.shards) {
    shard.bytes.remove_prefix(shard.bytes.size() / logits.num_rows * num_dropped);
  }
  logits.position += num_dropped;
  logits.num_rows -= num_dropped;
}

// Whether the shards are whole rows and side by side as wide as the vocabulary.
bool HasAllColumns(const SlotLogits& logits, size_t vocab_size) {
  size_t row_bytes = 0;
  for (const LogitShard& shard : logits.shards) {
    if (shard.bytes.size() % logits.num_rows != 0) return false;
    row_bytes += shard.bytes.size() / logits.num_rows;
  }
  return row_bytes == vocab_size * sizeof(float);
}

// Whether `parts` of the result's logits are, one after the other, just the rows from `position`
// on.
bool HasRows(const std::vector<SlotLogits>& rows, const std::vector<size_t>& parts,
             int32_t position, int32_t num_rows, size_t vocab_size) {
  auto next = static_cast<uint32_t>(position);
  for (size_t part : parts) {
    const SlotLogits& logits = rows[part];
    if (logits.position != next || logits.num_rows == 0 || !HasAllColumns(logits, vocab_size)) {
      return false;
    }
    next += logits.num_rows;
  }
  return next == static_cast<uint32_t>(position + num_rows);
}

// Whether `indexes` of the result's prompt tokens are just those from `position` on.
bool HasPromptTokens(const StepResult& result, const std::vector<int>& indexes, int32_t position,
                     int32_t num_tokens) {
  if (indexes.size() != static_cast<size_t>(num_tokens)) return false;
  auto next = static_cast<uint32_t>(position);
  for (int index : indexes) {
    if (result.fields.prompt_tokens(index).position() != next++) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<StepSummary> Scheduler::Apply(StepResult result, absl::Time now) {
  if (in_flight_.empty() || in_flight_.front().step != result.fields.step()) {
    return BadResult(result.fields.step(),
                     absl::StrCat("came where that of step ", last_applied_step_ + 1, " was next"));
  }
  absl::StatusOr<std::vector<Report>> reports = MatchResult(in_flight_.front(), result);
  if (!reports.ok()) return reports.status();

  StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  last_applied_step_ = step.step;
  const absl::Duration duration = absl::Nanoseconds(result.fields.duration_ns());
  if (!step.reports_logits) {
    least_work_.Observe(step.num_prefill_tokens, step.num_decode_tokens, duration);
  }
  for (size_t i = 0; i < step.rows.size(); ++i) {
    const auto it = sequences_.find(step.rows[i].handle);
    if (it == sequences_.end()) continue;  // ended while the step was in flight
    Sequence& sequence = *it->second;
    if (!sequence.samples()) sequence.completion.steps.push_back({step.step, duration});
    const Report& report = (*reports)[i];
    if (const auto* broken = FindBrokenToken(report, result.fields); broken != nullptr) {
      ForgetCached(sequence);
      End(sequence.handle, v1::FINISH_REASON_UNSPECIFIED, LogitsNotFinite(broken->position()));
      continue;
    }
    // A sequence that was preempted meanwhile has given up its blocks.
    if (sequence.running()) FillCache(sequence, step.rows[i].end);
    if (!report.prompt_tokens.empty()) ApplyPromptTokens(sequence, report.prompt_tokens, result);
    if (report.sampled >= 0) {
      ApplyToken(sequence, std::move(*result.fields.mutable_sampled(report.sampled)), now);
    } else if (!report.logits.empty()) {
      ApplyLogits(sequence, report.logits, result);
    }
  }
  // No other step uses these.
  for (BlockTable& blocks : step.released_blocks) ReleaseBlocks(blocks);
  return StepSummary{.step = step.step,
                     .duration = duration,
                     .num_prefill_tokens = step.num_prefill_tokens,
                     .num_decode_tokens = step.num_decode_tokens,
                     .num_recomputed_tokens = step.num_recomputed_tokens};
}

const worker::v1::SampledToken* Scheduler::FindBrokenToken(const Report& report,
                                                           const worker::v1::StepResult& fields) {
  for (int index : report.prompt_tokens) {
    if (fields.prompt_tokens(index).logits_not_finite()) return &fields.prompt_tokens(index);
  }
  if (report.sampled >= 0 && fields.sampled(report.sampled).logits_not_finite()) {
    return &fields.sampled(report.sampled);
  }
  return nullptr;
}

absl::Status Scheduler::CheckTokens(const StepResult& result) const {
  const auto vocab_size = static_cast<uint32_t>(options_.vocab_size);
  for (const auto* tokens : {&result.fields.sampled(), &result.fields.prompt_tokens()}) {
    for (const worker::v1::SampledToken& token : *tokens) {
      uint32_t largest = token.token_id();
      for (const worker::v1::TokenLogprob& other : token.top()) {
        largest = std::max(largest, other.token_id());
      }
      if (largest >= vocab_size) {
        return BadResult(result.fields.step(),
                         absl::StrCat("has token ", largest, " for slot ", token.slot(),
                                      ", but the vocabulary has ", vocab_size, " tokens"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Scheduler::Report>> Scheduler::MatchResult(
    const StepInFlight& step, const StepResult& result) const {
  if (absl::Status status = CheckTokens(result); !status.ok()) return status;
  absl::StatusOr<std::vector<Report>> by_slot = ReportsBySlot(result);
  if (!by_slot.ok()) return by_slot.status();
  std::vector<Report> reports;
  reports.reserve(step.rows.size());
  for (const Row& row : step.rows) {
    Report& report = (*by_slot)[row.slot];
    if (row.samples && (report.sampled < 0 || result.fields.sampled(report.sampled).position() !=
                                                  static_cast<uint32_t>(row.position))) {
      return BadResult(step.step, absl::StrCat("lacks the token at position ", row.position,
                                               " of slot ", row.slot));
    }
    if (row.num_logits > 0 && !HasRows(result.logits, report.logits, row.position, row.num_logits,
                                       static_cast<size_t>(options_.vocab_size))) {
      return BadResult(step.step,
                       absl::StrCat("lacks the logits of ", row.num_logits, " positions from ",
                                    row.position, " of slot ", row.slot));
    }
    if (!HasPromptTokens(result, report.prompt_tokens, row.first_prompt_token,
                         row.num_prompt_tokens)) {
      return BadResult(step.step,
                       absl::StrCat("lacks the log probabilities of ", row.num_prompt_tokens,
                                    " prompt tokens from position ", row.first_prompt_token,
                                    " of slot ", row.slot, ", or has others"));
    }
    if ((!row.samples && report.sampled >= 0) || (row.num_logits == 0 && !report.logits.empty())) {
      return BadResult(step.step, absl::StrCat("has what slot ", row.slot, " was not asked for"));
    }
    reports.push_back(std::exchange(report, {}));
  }
  for (size_t slot = 0; slot < by_slot->size(); ++slot) {
    if ((*by_slot)[slot].sampled >= 0 || !(*by_slot)[slot].logits.empty() ||
        !(*by_slot)[slot].prompt_tokens.empty()) {
      return BadResult(step.step, absl::StrCat("has slot ", slot, ", which did not run"));
    }
  }
  return reports;
}

absl::StatusOr<std::vector<Scheduler::Report>> Scheduler::ReportsBySlot(
    const StepResult& result) const {
  std::vector<Report> by_slot(static_cast<size_t>(options_.max_num_seqs));
  for (int i = 0; i < result.fields.sampled_size(); ++i) {
    const uint32_t slot = result.fields.sampled(i).slot();
    if (slot >= by_slot.size() || by_slot[slot].sampled >= 0) {
      return BadResult(result.fields.step(),
                       absl::StrCat("has an unexpected token for slot ", slot));
    }
    by_slot[slot].sampled = i;
  }
  for (size_t i = 0; i < result.logits.size(); ++i) {
    const uint32_t slot = result.logits[i].slot;
    if (slot >= by_slot.size()) {
      return BadResult(result.fields.step(), absl::StrCat("has unexpected logits for slot ", slot));
    }
    by_slot[slot].logits.push_back(i);
  }
  for (int i = 0; i < result.fields.prompt_tokens_size(); ++i) {
    const uint32_t slot = result.fields.prompt_tokens(i).slot();
    if (slot >= by_slot.size()) {
      return BadResult(result.fields.step(),
                       absl::StrCat("has unexpected prompt tokens for slot ", slot));
    }
    by_slot[slot].prompt_tokens.push_back(i);
  }
  return by_slot;
}

void Scheduler::ApplyToken(Sequence& sequence, worker::v1::SampledToken token, absl::Time now) {
  const EngineRequest& request = *sequence.request;
  const auto token_id = static_cast<int32_t>(token.token_id());
  --sequence.num_pending_tokens;
  sequence.answer.push_back(token_id);
  ++num_generated_tokens_;
  if (sequence.completion.first_token == absl::InfinitePast()) {
    sequence.completion.first_token = now;
  }
  sequence.completion.last_token = now;

  const auto num_tokens = static_cast<int32_t>(sequence.answer.size());
  const bool may_end = num_tokens > request.min_new_tokens;
  std::optional<v1::FinishReason> end_token;
  if (may_end && Contains(request.eos_token_ids, token_id)) {
    end_token = v1::EOS;
  } else if (may_end && Contains(request.stop_token_ids, token_id)) {
    end_token = v1::STOP_TOKEN;
  }
  Emit(sequence.handle, TokenEvent{std::move(token), end_token.has_value()});
  if (end_token.has_value()) {
    End(sequence.handle, *end_token, {}, token_id);
  } else if (num_tokens >= request.max_new_tokens) {
    End(sequence.handle, v1::LENGTH, {});
  }
}

void Scheduler::ApplyPromptTokens(Sequence& sequence, const std::vector<int>& indexes,
                                  StepResult& result) {
  PromptTokensEvent event;
  for (int index : indexes) {
    worker::v1::SampledToken& token = *result.fields.mutable_prompt_tokens(index);
    // A preempted sequence runs its prompt again.
    if (token.position() < static_cast<uint32_t>(sequence.num_delivered_prompt_tokens)) continue;
    sequence.num_delivered_prompt_tokens = static_cast<int32_t>(token.position()) + 1;
    event.tokens.push_back(std::move(token));
  }
  if (!event.tokens.empty()) Emit(sequence.handle, std::move(event));
}

void Scheduler::ApplyLogits(Sequence& sequence, const std::vector<size_t>& parts,
                            StepResult& result) {
  for (size_t part : parts) {
    SlotLogits& logits = result.logits[part];
    // A preempted sequence runs its prompt again: what has been delivered is not delivered twice.
    const int32_t num_repeated =
        sequence.num_delivered_rows - static_cast<int32_t>(logits.position);
    DropRows(logits, std::max(0, num_repeated));
    if (logits.num_rows == 0) continue;
    sequence.num_delivered_rows = static_cast<int32_t>(logits.position + logits.num_rows);
    Emit(sequence.handle, std::move(logits));
  }
  if (sequence.num_delivered_rows == sequence.num_prompt_tokens()) {
    End(sequence.handle, v1::LENGTH, {});
  }
}

}  // namespace lockstep::server
