#include "worker/sampling/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

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

// Of a mask with at least one token.
uint32_t LowestToken(std::span<const uint32_t> mask) {
  size_t word = 0;
  while (word + 1 < mask.size() && mask[word] == 0) ++word;
  return static_cast<uint32_t>(word * 32) + static_cast<uint32_t>(std::countr_zero(mask[word]));
}

}  // namespace

absl::Status CheckSampling(const SamplingParameters& parameters) {
  const auto in_unit = [](float value) { return value >= 0.0F && value <= 1.0F; };
  if (!(parameters.temperature >= 0.0F) || std::isinf(parameters.temperature)) {
    return Refuse("temperature", parameters.temperature, "0 or larger");
  }
  if (!in_unit(parameters.top_p)) return Refuse("top_p", parameters.top_p, "from 0 to 1");
  if (!in_unit(parameters.min_p)) return Refuse("min_p", parameters.min_p, "from 0 to 1");
  if (!in_unit(parameters.typical_p)) {
    return Refuse("typical_p", parameters.typical_p, "from 0 to 1");
  }
  if (!(parameters.repetition_penalty >= 0.0F) || std::isinf(parameters.repetition_penalty)) {
    return Refuse("repetition_penalty", parameters.repetition_penalty, "0 (off) or larger");
  }
  if (!std::isfinite(parameters.presence_penalty)) {
    return Refuse("presence_penalty", parameters.presence_penalty, "finite");
  }
  if (!std::isfinite(parameters.frequency_penalty)) {
    return Refuse("frequency_penalty", parameters.frequency_penalty, "finite");
  }
  for (const auto& [token, bias] : parameters.logit_bias) {
    if (!std::isfinite(bias)) return Refuse("logit_bias", bias, "finite");
  }
  return absl::OkStatus();
}

uint32_t LastResort(const SamplingParameters& parameters, std::span<const uint32_t> mask) {
  if (!mask.empty()) return LowestToken(mask);
  const std::vector<uint32_t>& allowed = parameters.allowed_token_ids;
  return allowed.empty() ? 0 : *std::min_element(allowed.begin(), allowed.end());
}

SampledChoice Sampler::Sample(std::span<const float> logits, const SamplingParameters& parameters,
                              uint32_t position, std::span<const uint32_t> history,
                              std::span<const uint32_t> mask) {
  // Looked at before the processors, which could hide a broken logit.
  const RowMaximum model_maximum = FindMaximum(logits);
  if (!model_maximum.is_valid) return {.token_id = 0, .is_broken = true, .report = {}};
  const std::span<const float> processed =
      processors_.Apply(logits, parameters, position, history, mask);
  const bool is_changed = processed.data() != logits.data();
  const RowMaximum maximum = is_changed ? FindMaximum(processed) : model_maximum;
  SampledChoice choice;
  choice.token_id = maximum.is_valid ? Choose(processed, maximum, parameters, position)
                                     : ChooseForbidden(logits, parameters, position, history, mask);
  if (parameters.num_logprobs >= 0) {
    choice.report = MakeReport(logits, model_maximum.value, choice.token_id,
                               static_cast<uint32_t>(parameters.num_logprobs));
  }
  return choice;
}

uint32_t Sampler::Choose(std::span<const float> processed, const RowMaximum& maximum,
                         const SamplingParameters& parameters, uint32_t position) {
  return parameters.temperature == 0.0F ? static_cast<uint32_t>(maximum.index)
                                        : Draw(processed, maximum.value, parameters, position);
}

uint32_t Sampler::ChooseForbidden(std::span<const float> logits, SamplingParameters parameters,
                                  uint32_t position, std::span<const uint32_t> history,
                                  std::span<const uint32_t> mask) {
  const uint32_t last_resort = LastResort(parameters, mask);
  parameters.min_new_tokens = 0;
  std::span<const float> processed = processors_.Apply(logits, parameters, position, history, mask);
  RowMaximum maximum = FindMaximum(processed);
  if (!maximum.is_valid && !mask.empty()) {
    parameters.allowed_token_ids.clear();
    processed = processors_.Apply(logits, parameters, position, history, mask);
    maximum = FindMaximum(processed);
  }
  return maximum.is_valid ? Choose(processed, maximum, parameters, position) : last_resort;
}

uint32_t Sampler::Draw(std::span<const float> logits, float maximum,
                       const SamplingParameters& parameters, uint32_t position) {
  Filter(logits, maximum, parameters);
  const double target = UniformAt(parameters.seed, position) * SumWeights(weights_);
  const auto index = static_cast<size_t>(FindCumulative(weights_, target));
  return kept_ids_.empty() ? static_cast<uint32_t>(index) : kept_ids_[index];
}

std::vector<float> Sampler::Probabilities(std::span<const float> logits,
                                          const SamplingParameters& parameters, uint32_t position,
                                          std::span<const uint32_t> history) {
  const std::span<const float> processed = processors_.Apply(logits, parameters, position, history);
  Filter(processed, FindMaximum(processed).value, parameters);
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
  if (parameters.typical_p > 0.0F && parameters.typical_p < 1.0F) {
    KeepTypical(logits, maximum, parameters);
  }
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
  // probable and together at most that mass: only the others are put in order.
  const double share = removable / static_cast<double>(num_tokens);
  by_weight_.clear();
  double removed = 0.0;
  for (size_t i = 0; i < num_tokens; ++i) {
    if (weights_[i] < share) {
      removed += weights_[i];
      weights_[i] = 0.0F;
    } else {
      by_weight_.push_back({.weight = weights_[i], .index = static_cast<uint32_t>(i)});
    }
  }
  const size_t num_removed = NumRemovable(removable - removed);
  for (size_t i = 0; i < num_removed; ++i) weights_[by_weight_[i].index] = 0.0F;
}

// A selection by halves, so that no more is put in order than has to be.
size_t Sampler::NumRemovable(double removable) {
  const auto lighter = [](const WeightedIndex& a, const WeightedIndex& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.index < b.index;
  };
  size_t begin = 0;
  size_t end = by_weight_.size() - 1;  // the last of the order stays
  std::nth_element(by_weight_.begin(), by_weight_.end() - 1, by_weight_.end(), lighter);
  double removed = 0.0;  // the weight of the tokens before `begin`, which are lighter than the rest
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    const auto at = [&](size_t index) {
      return by_weight_.begin() + static_cast<ptrdiff_t>(index);
    };
    std::nth_element(at(begin), at(middle), at(end), lighter);
    double half = removed;
    for (size_t i = begin; i <= middle; ++i) half += by_weight_[i].weight;
    if (half <= removable) {
      removed = half;
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// Removes tokens less probable than min_p times the most probable, whose weight is 1.
void Sampler::KeepMinP(float min_p) {
  for (float& weight : weights_) {
    if (weight < min_p) weight = 0.0F;
  }
}

// Keeps the tokens whose surprisal, the negative logarithm of the probability, is nearest to its
// mean, the entropy: as many as reach typical_p together, and those that are as near as the last.
void Sampler::KeepTypical(std::span<const float> logits, float maximum,
                          const SamplingParameters& parameters) {
  // Of the token with index i among the kept ones, relative to the most probable token's.
  const auto surprisal = [&](size_t i) {
    const size_t token = kept_ids_.empty() ? i : kept_ids_[i];
    return -(logits[token] - maximum) / parameters.temperature;
  };
  const double sum = SumWeights(weights_);
  double mean = 0.0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] > 0.0F) mean += weights_[i] / sum * surprisal(i);
  }
  const auto deviation = [&](size_t i) {
    return static_cast<float>(std::abs(surprisal(i) - mean));
  };
  deviations_.clear();
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] > 0.0F) deviations_.push_back({.value = deviation(i), .weight = weights_[i]});
  }
  const float threshold = TypicalThreshold(parameters.typical_p * sum);
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] > 0.0F && deviation(i) > threshold) weights_[i] = 0.0F;
  }
}

// A selection by halves, so that no more is put in order than has to be. The answer has a value
// and no place, so equal deviations need no order.
float Sampler::TypicalThreshold(double mass) {
  const auto nearer = [](const Deviation& a, const Deviation& b) { return a.value < b.value; };
  size_t begin = 0;
  size_t end = deviations_.size();
  double before = 0.0;  // the weight of the tokens before `begin`, which are nearer than the rest
  while (end - begin > 1) {
    const size_t middle = begin + (end - begin) / 2;
    const auto at = [&](size_t index) {
      return deviations_.begin() + static_cast<ptrdiff_t>(index);
    };
    std::nth_element(at(begin), at(middle), at(end), nearer);
    double half = before;
    for (size_t i = begin; i < middle; ++i) half += deviations_[i].weight;
    if (half < mass) {
      before = half;
      begin = middle;
    } else {
      end = middle;
    }
  }
  return deviations_[begin].value;
}

SampledChoice Sampler::Report(std::span<const float> logits, uint32_t token_id, uint32_t num_top) {
  SampledChoice choice = {.token_id = token_id, .is_broken = false, .report = {}};
  const RowMaximum maximum = FindMaximum(logits);
  choice.is_broken = !maximum.is_valid;
  if (maximum.is_valid) choice.report = MakeReport(logits, maximum.value, token_id, num_top);
  return choice;
}

TokenReport Sampler::MakeReport(std::span<const float> logits, float maximum, uint32_t token_id,
                                uint32_t num_top) {
  weights_.resize(logits.size());
  ExpWeights(logits, maximum, 1.0F, weights_);
  const double log_normalizer = maximum + std::log(SumWeights(weights_));
  const float logit = logits[token_id];
  TokenReport report;
  report.logprob = static_cast<float>(logit - log_normalizer);
  report.rank = 1 + static_cast<uint32_t>(std::count_if(
                        logits.begin(), logits.end(), [&](float other) { return other > logit; }));
  if (num_top > 0) {
    report.top = MostProbable(logits, std::min<size_t>(num_top, logits.size()), log_normalizer);
  }
  return report;
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
