// Runs sequences through a pool as a frontend would: paged blocks, chunked prompts, mixed batches.

#ifndef LOCKSTEP_TESTS_PARITY_MODEL_SEQUENCE_RUNNER_H_
#define LOCKSTEP_TESTS_PARITY_MODEL_SEQUENCE_RUNNER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/parity/model/rank_threads.h"
#include "worker/sampling/sampling_parameters.h"

namespace lockstep::testing {

struct RunnerOptions {
  uint32_t block_size = 8;
  // Prompt tokens of one sequence in one step; 0: whole prompts.
  uint32_t chunk_size = 0;
};

// The logits of every position of every prompt, [num_tokens, vocab_size] each; all prompts start in
// the same step.
absl::StatusOr<std::vector<std::vector<float>>> AllLogits(
    RankThreads& ranks, const std::vector<std::vector<int32_t>>& prompts,
    const RunnerOptions& options);

// Every prompt's tokens but the first as the workers report them, with `num_top` alternatives. Each
// prompt is also continued by a token, and prompts start one step after another.
absl::StatusOr<std::vector<std::vector<worker::SampledToken>>> PromptLogprobs(
    RankThreads& ranks, const std::vector<std::vector<int32_t>>& prompts, uint32_t num_top,
    const RunnerOptions& options);

// What follows each prompt, `num_new_tokens` tokens of it. Prompts start one step after another,
// so that prefill chunks and decodes share steps.
absl::StatusOr<std::vector<std::vector<int32_t>>> Generate(
    RankThreads& ranks, const std::vector<std::vector<int32_t>>& prompts, uint32_t num_new_tokens,
    const worker::SamplingParameters& sampling, const RunnerOptions& options);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_PARITY_MODEL_SEQUENCE_RUNNER_H_
