#include "worker/sampling/logits_processors.h"

#include <algorithm>
#include <limits>

namespace lockstep::worker {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

// A multiplication or subtraction that leaves float32's range stops at its border, so that no
// penalty forbids a token or makes the row unusable; what is forbidden already stays so.
float Finite(float before, float after) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  return before == kForbidden ? before : std::clamp(after, -kLargest, kLargest);
}

// 0 is what an unset field says.
bool IsRepetitionOff(float penalty) { return penalty == 0.0F || penalty == 1.0F; }

}  // namespace

bool HasPenalties(const SamplingParameters& parameters) {
  return !IsRepetitionOff(parameters.repetition_penalty) || parameters.presence_penalty != 0.0F ||
         parameters.frequency_penalty != 0.0F;
}

bool ForbidsEndTokens(const SamplingParameters& parameters, uint32_t position) {
  const uint64_t first_free = uint64_t{parameters.num_prompt_tokens} + parameters.min_new_tokens;
  return position < first_free && !parameters.end_token_ids.empty();
}

std::span<const float> LogitsProcessors::Apply(std::span<const float> logits,
                                               const SamplingParameters& parameters,
                                               uint32_t position, std::span<const uint32_t> history,
                                               std::span<const uint32_t> mask) {
  const bool has_penalties = HasPenalties(parameters);
  const bool forbids_end = ForbidsEndTokens(parameters, position);
  if (parameters.logit_bias.empty() && !has_penalties && !forbids_end &&
      parameters.allowed_token_ids.empty() && mask.empty()) {
    return logits;
  }
  processed_.assign(logits.begin(), logits.end());
  AddBias(parameters);
  if (has_penalties) Penalize(parameters, history);
  if (forbids_end) ForbidEndTokens(parameters);
  if (!parameters.allowed_token_ids.empty()) ForbidAllBut(parameters.allowed_token_ids);
  if (!mask.empty()) ForbidUnmasked(mask);
  return processed_;
}

void LogitsProcessors::AddBias(const SamplingParameters& parameters) {
  for (const auto& [token, bias] : parameters.logit_bias) {
    if (token >= processed_.size()) continue;
    processed_[token] = Finite(processed_[token], processed_[token] + bias);
  }
}

void LogitsProcessors::Penalize(const SamplingParameters& parameters,
                                std::span<const uint32_t> history) {
  occurrences_.resize(processed_.size());
  for (size_t i = 0; i < history.size(); ++i) {
    const uint32_t token = history[i];
    if (token >= occurrences_.size()) continue;
    Occurrences& occurrences = occurrences_[token];
    if (!occurrences.in_history) touched_ids_.push_back(token);
    occurrences.in_history = true;
    if (i >= parameters.num_prompt_tokens) ++occurrences.in_answer;
  }
  const bool repetition = !IsRepetitionOff(parameters.repetition_penalty);
  for (const uint32_t token : touched_ids_) {
    const float before = processed_[token];
    float after = before;
    if (repetition) {
      after = before < 0.0F ? before * parameters.repetition_penalty
                            : before / parameters.repetition_penalty;
    }
    if (const uint32_t count = occurrences_[token].in_answer; count > 0) {
      after -= parameters.presence_penalty;
      after -= parameters.frequency_penalty * static_cast<float>(count);
    }
    processed_[token] = Finite(before, after);
    occurrences_[token] = {};
  }
  touched_ids_.clear();
}

void LogitsProcessors::ForbidEndTokens(const SamplingParameters& parameters) {
  for (const uint32_t token : parameters.end_token_ids) {
    if (token < processed_.size()) processed_[token] = kForbidden;
  }
}

void LogitsProcessors::ForbidAllBut(std::span<const uint32_t> allowed) {
  allowed_logits_.clear();
  for (const uint32_t token : allowed) {
    allowed_logits_.push_back(token < processed_.size() ? processed_[token] : kForbidden);
  }
  std::fill(processed_.begin(), processed_.end(), kForbidden);
  for (size_t i = 0; i < allowed.size(); ++i) {
    if (allowed[i] < processed_.size()) processed_[allowed[i]] = allowed_logits_[i];
  }
}

void LogitsProcessors::ForbidUnmasked(std::span<const uint32_t> mask) {
  for (size_t i = 0; i < processed_.size(); ++i) {
    if ((mask[i / 32] >> (i % 32) & 1U) == 0) processed_[i] = kForbidden;
  }
}

}  // namespace lockstep::worker
