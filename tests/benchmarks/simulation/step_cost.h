// How long a step takes on modelled workers.
#ifndef LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_STEP_COST_H_
#define LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_STEP_COST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace lockstep::simulation {

// A pool and the model on it. A step costs
//
//   overhead + max(weights, tokens · per_token) + kv_tokens · per_kv_token
//
// where kv_tokens counts, for each token that runs, the positions before it that attention reads:
// once per decode, and once per 64 rows of a prefill, which share what they read. The roofline of a
// transformer's step: weights are read once whatever the batch, each token costs its
// multiplications, and each sequence its own keys and values.
struct PoolProfile {
  std::string name;
  absl::Duration overhead;
  absl::Duration weights;
  absl::Duration per_token;
  absl::Duration per_kv_token;
  int64_t kv_tokens = 0;  // that fit the KV cache
  // What a user is content with: time to first token, and mean time between tokens.
  absl::Duration ttft_objective;
  absl::Duration tpot_objective;
  double default_rate = 0;  // requests per second
};

const std::vector<PoolProfile>& PoolProfiles();

// Prefills read the cache once for this many rows.
inline constexpr int64_t kRowsPerRead = 64;

absl::Duration StepDuration(const PoolProfile& profile, int64_t num_tokens, int64_t num_kv_tokens);

}  // namespace lockstep::simulation

#endif  // LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_STEP_COST_H_
