#ifndef LOCKSTEP_WORKER_SAMPLING_SAMPLER_H_
#define LOCKSTEP_WORKER_SAMPLING_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/sampling/logits_processors.h"
#include "worker/sampling/sampling_parameters.h"
#include "worker/sampling/token_weights.h"

namespace lockstep::worker {

// A token under the model's own distribution: softmax of the logits, before anything else.
struct TokenReport {
  float logprob = 0.0F;
  uint32_t rank = 0;              // 1: no token is more probable
  std::vector<TokenLogprob> top;  // the most probable tokens, best first; ties by token id
};

struct SampledChoice {
  uint32_t token_id = 0;
  // The row has a NaN, +infinity or nothing finite: the token stands in for one, and there is no
  // report.
  bool is_broken = false;
  TokenReport report;  // with num_logprobs >= 0
};

// OK if every parameter has a value in its range; else INVALID_ARGUMENT naming it.
absl::Status CheckSampling(const SamplingParameters& parameters);

// The token of a row whose every token is forbidden, whatever gives way; see Sampler::Sample.
uint32_t LastResort(const SamplingParameters& parameters, std::span<const uint32_t> mask);

// Chooses tokens on the CPU, with the meaning of transformers' logits processors in their order:
// first those of LogitsProcessors, whose best token is the greedy choice; then, with a temperature
// above 0, temperature, top-k (ties with the k-th are kept), top-p, min-p, typical-p, and a draw.
// Each filter sees the distribution that the ones before it left, renormalised.
// Keeps scratch memory of the vocabulary's size. One per thread.
class Sampler {
 public:
  // The token at `position` (the number of tokens before it), given the logits at position - 1.
  // Draws by inverse cumulative distribution in the order of token ids, with the random number of
  // (seed, position): equal logits, parameters and history give the same token whatever else runs.
  // Temperature 0 takes the most probable token, the lowest id of equals.
  //
  // There is always a token: where the processors forbid every one, min_new_tokens gives way, then
  // allowed_token_ids does to a mask, and where that is not enough (the model gives all allowed
  // tokens a probability of 0) it is the lowest allowed id.
  //
  //   logits   [vocab_size]; on the host
  //   history  [position], the sequence's tokens; may be empty without penalties
  //   mask     [ceil(vocab_size / 32)], as in SlotMask, with at least one token; or empty: no mask
  //
  // Of a row that is broken the token is 0. Precondition: CheckSampling.
  SampledChoice Sample(std::span<const float> logits, const SamplingParameters& parameters,
                       uint32_t position, std::span<const uint32_t> history = {},
                       std::span<const uint32_t> mask = {});

  // What Sample draws from with a temperature above 0: [vocab_size], 0 where a token is forbidden
  // or filtered. For tests.
  std::vector<float> Probabilities(std::span<const float> logits,
                                   const SamplingParameters& parameters, uint32_t position = 0,
                                   std::span<const uint32_t> history = {});

  // `token_id`, which may be broken as in Sample, with `num_top` alternatives.
  SampledChoice Report(std::span<const float> logits, uint32_t token_id, uint32_t num_top);

 private:
  // Sample for a row whose every token is forbidden.
  uint32_t ChooseForbidden(std::span<const float> logits, SamplingParameters parameters,
                           uint32_t position, std::span<const uint32_t> history,
                           std::span<const uint32_t> mask);
  uint32_t Choose(std::span<const float> processed, const RowMaximum& maximum,
                  const SamplingParameters& parameters, uint32_t position);
  uint32_t Draw(std::span<const float> logits, float maximum, const SamplingParameters& parameters,
                uint32_t position);
  // Fills kept_ids_ and weights_.
  void Filter(std::span<const float> logits, float maximum, const SamplingParameters& parameters);
  void KeepAll(std::span<const float> logits, float maximum, float temperature);
  void KeepTopK(std::span<const float> logits, float maximum, const SamplingParameters& parameters);
  void KeepTopP(double top_p);
  // How many tokens of by_weight_, the lightest first, weigh `removable` at most; puts them first.
  // The heaviest is not counted. Precondition: by_weight_ is not empty.
  size_t NumRemovable(double removable);
  void KeepMinP(float min_p);
  void KeepTypical(std::span<const float> logits, float maximum,
                   const SamplingParameters& parameters);
  // The deviation at which the tokens of deviations_, in ascending order, reach `mass`.
  float TypicalThreshold(double mass);
  // The k-th largest of the logits, 1 <= k <= their number.
  float KthLargest(std::span<const float> logits, size_t k);
  TokenReport MakeReport(std::span<const float> logits, float maximum, uint32_t token_id,
                         uint32_t num_top);
  std::vector<TokenLogprob> MostProbable(std::span<const float> logits, size_t num,
                                         double log_normalizer);

  LogitsProcessors processors_;
  std::vector<float> heap_;
  // The tokens that top-k has kept, in ascending order (none: every token is its own index), and
  // for each exp((logit - maximum) / temperature), or 0 where a later filter removed it. The most
  // probable token is always among them, but for typical-p.
  std::vector<uint32_t> kept_ids_;
  std::vector<float> weights_;
  std::vector<uint32_t> order_;
  struct WeightedIndex {
    float weight = 0.0F;
    uint32_t index = 0;
  };
  std::vector<WeightedIndex> by_weight_;
  struct Deviation {
    float value = 0.0F;  // how far a token's surprisal is from the entropy
    float weight = 0.0F;
  };
  std::vector<Deviation> deviations_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_SAMPLER_H_
