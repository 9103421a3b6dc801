#include "worker/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "worker/sampling/philox.h"
#include "worker/sampling/token_weights.h"

namespace lockstep::worker {
namespace {

// Up to this k a heap of the best k is cheaper than a partition of the whole row.
constexpr size_t kMaxHeapSize = 1024;

absl::Status Refuse(const char* name, double value, const char* range) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be ", range));
}

absl::Status NotCarriedOut(const char* name) {
  return absl::UnimplementedError(absl::StrCat(name, " is not supported by this worker"));
}

// Whether a parameter that multiplies or filters is off: unset, or 1.
bool IsOff(float value) { return value == 0.0F || value == 1.0F; }

}  // namespace

absl::Status CheckSampling(const SamplingParameters& parameters) {
  const auto in_unit = [](float value) { return value >= 0.0F && value <= 1.0F; };
  if (!(parameters.temperature >= 0.0F) || std::isinf(parameters.temperature)) {
    return Refuse("temperature", parameters.temperature, "0 or larger");
  }
  if (!in_unit(parameters.top_p)) return Refuse("top_p", parameters.top_p, "from 0 to 1");
  if (!in_unit(parameters.min_p)) return Refuse("min_p", parameters.min_p, "from 0 to 1");
  if (!IsOff(parameters.typical_p)) return NotCarriedOut("typical_p");
  if (!IsOff(parameters.repetition_penalty)) return NotCarriedOut("repetition_penalty");
  if (parameters.presence_penalty != 0.0F) return NotCarriedOut("presence_penalty");
  if (parameters.frequency_penalty != 0.0F) return NotCarriedOut("frequency_penalty");
  if (!parameters.logit_bias.empty()) return NotCarriedOut("logit_bias");
  if (!parameters.allowed_token_ids.empty()) return NotCarriedOut("allowed_token_ids");
  return absl::OkStatus();
}

absl::StatusOr<SampledChoice> Sampler::Sample(std::span<const float> logits,
                                              const SamplingParameters& parameters,
                                              uint32_t position) {
  // Looked at before masking, which could hide a broken logit.
  RowMaximum maximum = FindMaximum(logits);
  if (!maximum.is_valid) {
    return absl::InternalError(absl::StrCat("the model's logits for position ", position,
                                            " are not finite: the weights or the dtype's range do "
                                            "not suit; try bfloat16 or float32"));
  }
  const std::span<const float> masked = MaskEndTokens(logits, parameters, position);
  if (masked.data() != logits.data()) maximum = FindMaximum(masked);
  if (!maximum.is_valid) {
    return absl::InternalError("min_new_tokens forbids every token of the vocabulary");
  }
  SampledChoice choice;
  choice.token_id = parameters.temperature == 0.0F
                        ? static_cast<uint32_t>(maximum.index)
                        : Draw(masked, maximum.value, parameters, position);
  if (parameters.num_logprobs >= 0) ReportLogprobs(logits, parameters.num_logprobs, choice);
  return choice;
}

std::span<const float> Sampler::MaskEndTokens(std::span<const float> logits,
                                              const SamplingParameters& parameters,
                                              uint32_t position) {
  const uint64_t first_free = uint64_t{parameters.num_prompt_tokens} + parameters.min_new_tokens;
  if (position >= first_free || parameters.end_token_ids.empty()) return logits;
  masked_.assign(logits.begin(), logits.end());
  for (const uint32_t token : parameters.end_token_ids) {
    if (token < masked_.size()) masked_[token] = -std::numeric_limits<float>::infinity();
  }
  return masked_;
}

uint32_t Sampler::Draw(std::span<const float> logits, float maximum,
                       const SamplingParameters& parameters, uint32_t position) {
  Filter(logits, maximum, parameters);
  const double target = UniformAt(parameters.seed, position) * SumWeights(weights_);
  const auto index = static_cast<size_t>(FindCumulative(weights_, target));
  return kept_ids_.empty() ? static_cast<uint32_t>(index) : kept_ids_[index];
}

std::vector<float> Sampler::Probabilities(std::span<const float> logits,
                                          const SamplingParameters& parameters) {
  Filter(logits, FindMaximum(logits).value, parameters);
  const double sum = SumWeights(weights_);
  std::vector<float> probabilities(logits.size());
  for (size_t i = 0; i < weights_.size(); ++i) {
    const size_t token = kept_ids_.empty() ? i : kept_ids_[i];
    probabilities[token] = static_cast<float>(weights_[i] / sum);
  }
  return probabilities;
}

void Sampler::Filter(std::span<const float> logits, float maximum,
                     const SamplingParameters& parameters) {
  if (parameters.top_k > 0 && parameters.top_k < logits.size()) {
    KeepTopK(logits, maximum, parameters);
  } else {
    KeepAll(logits, maximum, parameters.temperature);
  }
  if (parameters.top_p < 1.0F) KeepTopP(parameters.top_p);
  if (parameters.min_p > 0.0F) KeepMinP(parameters.min_p);
}

void Sampler::KeepAll(std::span<const float> logits, float maximum, float temperature) {
  kept_ids_.clear();  // every token is its own index
  weights_.resize(logits.size());
  ExpWeights(logits, maximum, temperature, weights_);
}

float Sampler::KthLargest(std::span<const float> logits, size_t k) {
  if (k > kMaxHeapSize) {
    heap_.assign(logits.begin(), logits.end());
    std::nth_element(heap_.begin(), heap_.begin() + static_cast<ptrdiff_t>(k) - 1, heap_.end(),
                     std::greater<>());
    return heap_[k - 1];
  }
  heap_.assign(logits.begin(), logits.begin() + static_cast<ptrdiff_t>(k));
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());  // the smallest in front
  for (const float logit : logits.subspan(k)) {
    if (logit <= heap_.front()) continue;
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.back() = logit;
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }
  return heap_.front();
}

void Sampler::KeepTopK(std::span<const float> logits, float maximum,
                       const SamplingParameters& parameters) {
  const float threshold = KthLargest(logits, parameters.top_k);
  kept_ids_.clear();
  weights_.clear();
  for (size_t token = 0; token < logits.size(); ++token) {
    if (!(logits[token] >= threshold)) continue;
    kept_ids_.push_back(static_cast<uint32_t>(token));
    weights_.push_back(logits[token]);
  }
  ExpWeights(weights_, maximum, parameters.temperature, weights_);
}

// Removes the least probable tokens whose cumulative probability, in ascending order, is at most
// 1 - top_p; of equals the lower ids first. The most probable one stays.
void Sampler::KeepTopP(double top_p) {
  const size_t num_tokens = weights_.size();
  const double removable = (1.0 - top_p) * SumWeights(weights_);
  // Tokens below the removable mass's share per token go whatever the order, being the least
  // probable and together at most that mass: only the others are sorted.
  const double share = removable / static_cast<double>(num_tokens);
  order_.clear();
  double removed = 0.0;
  for (size_t i = 0; i < num_tokens; ++i) {
    if (weights_[i] < share) {
      removed += weights_[i];
    } else {
      order_.push_back(static_cast<uint32_t>(i));
    }
  }
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    return weights_[a] != weights_[b] ? weights_[a] < weights_[b] : a < b;
  });
  size_t num_removed = 0;
  while (num_removed + 1 < order_.size()) {
    removed += weights_[order_[num_removed]];
    if (removed > removable) break;
    ++num_removed;
  }
  order_.erase(order_.begin(), order_.begin() + static_cast<ptrdiff_t>(num_removed));
  std::sort(order_.begin(), order_.end());  // back to the order of token ids
  const bool had_all = kept_ids_.empty();
  if (had_all) kept_ids_.resize(order_.size());
  for (size_t i = 0; i < order_.size(); ++i) {
    kept_ids_[i] = had_all ? order_[i] : kept_ids_[order_[i]];
    weights_[i] = weights_[order_[i]];
  }
  kept_ids_.resize(order_.size());
  weights_.resize(order_.size());
}

// Removes tokens less probable than min_p times the most probable, whose weight is 1.
void Sampler::KeepMinP(float min_p) {
  for (float& weight : weights_) {
    if (weight < min_p) weight = 0.0F;
  }
}

void Sampler::ReportLogprobs(std::span<const float> logits, int32_t num_logprobs,
                             SampledChoice& choice) {
  const float maximum = FindMaximum(logits).value;
  weights_.resize(logits.size());
  ExpWeights(logits, maximum, 1.0F, weights_);
  const double log_normalizer = maximum + std::log(SumWeights(weights_));
  const float logit = logits[choice.token_id];
  choice.logprob = static_cast<float>(logit - log_normalizer);
  choice.rank = 1 + static_cast<uint32_t>(std::count_if(
                        logits.begin(), logits.end(), [&](float other) { return other > logit; }));
  if (num_logprobs == 0) return;
  choice.top = MostProbable(
      logits, std::min<size_t>(static_cast<size_t>(num_logprobs), logits.size()), log_normalizer);
}

std::vector<TokenLogprob> Sampler::MostProbable(std::span<const float> logits, size_t num,
                                                double log_normalizer) {
  const float threshold = KthLargest(logits, num);
  order_.clear();
  for (size_t token = 0; token < logits.size(); ++token) {
    if (logits[token] >= threshold) order_.push_back(static_cast<uint32_t>(token));
  }
  std::stable_sort(order_.begin(), order_.end(),
                   [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  std::vector<TokenLogprob> top;
  for (size_t i = 0; i < num; ++i) {
    top.push_back(
        {.token_id = order_[i], .logprob = static_cast<float>(logits[order_[i]] - log_normalizer)});
  }
  return top;
}

}  // namespace lockstep::worker
