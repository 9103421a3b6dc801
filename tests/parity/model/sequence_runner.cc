#include "tests/parity/model/sequence_runner.h"

#include <algorithm>
#include <utility>

namespace lockstep::testing {
namespace {

using worker::LogitsRequest;
using worker::ScheduledSlot;
using worker::StepPlan;
using worker::StepResult;

struct Sequence {
  uint32_t num_known = 0;  // tokens
  uint32_t num_run = 0;
  uint32_t num_blocks = 0;
};

// A frontend without limits: every sequence has a slot, blocks are handed out in an order that
// mixes the sequences.
class Frontend {
 public:
  Frontend(RankThreads& ranks, const RunnerOptions& options) : ranks_(ranks), options_(options) {}

  void Admit(StepPlan& plan, const std::vector<int32_t>& prompt,
             const worker::SamplingParameters& sampling, LogitsRequest logits) {
    worker::AdmittedSlot admitted;
    admitted.slot = static_cast<uint32_t>(sequences_.size());
    admitted.token_ids.assign(prompt.begin(), prompt.end());
    admitted.sampling = sampling;
    admitted.sampling.num_prompt_tokens = static_cast<uint32_t>(prompt.size());
    admitted.logits = logits;
    plan.admitted.push_back(std::move(admitted));
    sequences_.push_back({.num_known = static_cast<uint32_t>(prompt.size())});
  }

  // Adds the next tokens of every sequence that has some and wants more than `max_tokens[slot]`
  // does not forbid.
  void Schedule(StepPlan& plan, const std::vector<uint32_t>& max_tokens) {
    for (uint32_t slot = 0; slot < sequences_.size(); ++slot) {
      Sequence& sequence = sequences_[slot];
      if (sequence.num_run >= sequence.num_known || sequence.num_known >= max_tokens[slot])
        continue;
      ScheduledSlot scheduled;
      scheduled.slot = slot;
      scheduled.position = sequence.num_run;
      scheduled.num_tokens = sequence.num_known - sequence.num_run;
      if (options_.chunk_size > 0) {
        scheduled.num_tokens = std::min(scheduled.num_tokens, options_.chunk_size);
      }
      sequence.num_run += scheduled.num_tokens;
      while (sequence.num_blocks * options_.block_size < sequence.num_run) {
        scheduled.new_blocks.push_back(next_block_++);
        ++sequence.num_blocks;
      }
      plan.scheduled.push_back(std::move(scheduled));
    }
  }

  absl::StatusOr<StepResult> Execute(StepPlan plan) {
    absl::StatusOr<StepResult> result = ranks_.Execute(std::move(plan));
    if (!result.ok()) return result;
    for (const auto& token : result->sampled) ++sequences_[token.slot].num_known;
    return result;
  }

  absl::Status ReleaseAll() {
    StepPlan plan;
    for (uint32_t slot = 0; slot < sequences_.size(); ++slot) plan.released_slots.push_back(slot);
    return ranks_.Execute(std::move(plan)).status();
  }

 private:
  RankThreads& ranks_;
  const RunnerOptions options_;
  std::vector<Sequence> sequences_;
  uint32_t next_block_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<std::vector<float>>> AllLogits(
    RankThreads& ranks, const std::vector<std::vector<int32_t>>& prompts,
    const RunnerOptions& options) {
  Frontend frontend(ranks, options);
  std::vector<std::vector<float>> logits(prompts.size());
  StepPlan plan;
  for (const auto& prompt : prompts) frontend.Admit(plan, prompt, {}, LogitsRequest::kAll);
  while (true) {
    frontend.Schedule(plan, std::vector<uint32_t>(prompts.size(), UINT32_MAX));
    if (plan.scheduled.empty()) break;
    absl::StatusOr<StepResult> result = frontend.Execute(std::exchange(plan, StepPlan()));
    if (!result.ok()) return result.status();
    for (const auto& rows : result->logits) {
      std::vector<float>& target = logits[rows.slot];
      target.insert(target.end(), rows.logits.begin(), rows.logits.end());
    }
  }
  if (absl::Status status = frontend.ReleaseAll(); !status.ok()) return status;
  return logits;
}

absl::StatusOr<std::vector<std::vector<worker::SampledToken>>> PromptLogprobs(
    RankThreads& ranks, const std::vector<std::vector<int32_t>>& prompts, uint32_t num_top,
    const RunnerOptions& options) {
  Frontend frontend(ranks, options);
  std::vector<std::vector<worker::SampledToken>> tokens(prompts.size());
  std::vector<uint32_t> max_tokens;
  for (const auto& prompt : prompts) {
    max_tokens.push_back(static_cast<uint32_t>(prompt.size()) + 1);
  }
  size_t num_admitted = 0;
  while (true) {
    StepPlan plan;
    if (num_admitted < prompts.size()) {
      frontend.Admit(plan, prompts[num_admitted++], {}, LogitsRequest::kNone);
      plan.admitted[0].num_prompt_logprobs = num_top;
    }
    frontend.Schedule(plan, max_tokens);
    if (plan.scheduled.empty()) break;
    absl::StatusOr<StepResult> result = frontend.Execute(std::move(plan));
    if (!result.ok()) return result.status();
    for (const auto& token : result->prompt_tokens) tokens[token.slot].push_back(token);
  }
  if (absl::Status status = frontend.ReleaseAll(); !status.ok()) return status;
  return tokens;
}

absl::StatusOr<std::vector<std::vector<int32_t>>> Generate(
    RankThreads& ranks, const std::vector<std::vector<int32_t>>& prompts, uint32_t num_new_tokens,
    const worker::SamplingParameters& sampling, const RunnerOptions& options) {
  Frontend frontend(ranks, options);
  std::vector<std::vector<int32_t>> answers(prompts.size());
  std::vector<uint32_t> max_tokens;
  for (const auto& prompt : prompts) {
    max_tokens.push_back(static_cast<uint32_t>(prompt.size()) + num_new_tokens);
  }
  size_t num_admitted = 0;
  while (true) {
    StepPlan plan;
    if (num_admitted < prompts.size()) {
      frontend.Admit(plan, prompts[num_admitted++], sampling, LogitsRequest::kNone);
    }
    frontend.Schedule(plan, max_tokens);
    if (plan.scheduled.empty()) break;
    absl::StatusOr<StepResult> result = frontend.Execute(std::move(plan));
    if (!result.ok()) return result.status();
    for (const auto& token : result->sampled) {
      answers[token.slot].push_back(static_cast<int32_t>(token.token_id));
    }
  }
  if (absl::Status status = frontend.ReleaseAll(); !status.ok()) return status;
  return answers;
}

}  // namespace lockstep::testing
