#ifndef LOCKSTEP_WORKER_SAMPLING_SAMPLER_H_
#define LOCKSTEP_WORKER_SAMPLING_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/sampling/sampling_parameters.h"

namespace lockstep::worker {

struct SampledChoice {
  uint32_t token_id = 0;
  // With num_logprobs >= 0, under the model's own distribution (before temperature and filters):
  float logprob = 0.0F;
  uint32_t rank = 0;              // 1: no token is more probable
  std::vector<TokenLogprob> top;  // the most probable tokens, best first; ties by token id
};

// OK if every parameter has a value in its range and none is set that this sampler does not carry
// out; else INVALID_ARGUMENT or UNIMPLEMENTED naming it.
absl::Status CheckSampling(const SamplingParameters& parameters);

// Chooses tokens on the CPU, with the meaning of transformers' logits processors in their order:
// minimum length, temperature, top-k (ties with the k-th are kept), top-p, min-p, then a draw.
// Keeps scratch memory of the vocabulary's size. One per thread.
class Sampler {
 public:
  // The token at `position` (the number of tokens before it), given the logits at position - 1.
  // Draws by inverse cumulative distribution in the order of token ids, with the random number of
  // (seed, position): equal logits and parameters give the same token whatever else runs.
  // Temperature 0 takes the most probable token, the lowest id of equals.
  //
  //   logits  [vocab_size]; on the host
  //
  // INTERNAL when a logit is NaN or +infinity, or when none is finite. Precondition: CheckSampling.
  absl::StatusOr<SampledChoice> Sample(std::span<const float> logits,
                                       const SamplingParameters& parameters, uint32_t position);

  // What Sample draws from with a temperature above 0, min_new_tokens aside: [vocab_size], 0 where
  // the filters forbid the token. For tests.
  std::vector<float> Probabilities(std::span<const float> logits,
                                   const SamplingParameters& parameters);

 private:
  std::span<const float> MaskEndTokens(std::span<const float> logits,
                                       const SamplingParameters& parameters, uint32_t position);
  uint32_t Draw(std::span<const float> logits, float maximum, const SamplingParameters& parameters,
                uint32_t position);
  // Fills kept_ids_ and weights_.
  void Filter(std::span<const float> logits, float maximum, const SamplingParameters& parameters);
  void KeepAll(std::span<const float> logits, float maximum, float temperature);
  void KeepTopK(std::span<const float> logits, float maximum, const SamplingParameters& parameters);
  void KeepTopP(double top_p);
  void KeepMinP(float min_p);
  // The k-th largest of the logits, 1 <= k <= their number.
  float KthLargest(std::span<const float> logits, size_t k);
  void ReportLogprobs(std::span<const float> logits, int32_t num_logprobs, SampledChoice& choice);
  std::vector<TokenLogprob> MostProbable(std::span<const float> logits, size_t num,
                                         double log_normalizer);

  std::vector<float> masked_;
  std::vector<float> heap_;
  // The tokens that the filters have kept so far, in ascending order, and for each
  // exp((logit - maximum) / temperature). The most probable token is always among them.
  std::vector<uint32_t> kept_ids_;
  std::vector<float> weights_;
  std::vector<uint32_t> order_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_SAMPLER_H_
