#include "tests/benchmarks/simulation/step_cost.h"

#include <algorithm>

namespace lockstep::simulation {

const std::vector<PoolProfile>& PoolProfiles() {
  static const auto* profiles = new std::vector<PoolProfile>{
      // Llama-3-8B in bfloat16 on one H100: 15 GB of weights at 80 % of 3.35 TB/s, 16 GFLOP per
      // token at 70 % of 989
      // TFLOP/s, 128 KiB of keys and values per token at 80 % of the bandwidth, 54 GB of KV cache.
      {.name = "h100-8b",
       .overhead = absl::Microseconds(150),
       .weights = absl::Microseconds(5600),
       .per_token = absl::Microseconds(23.2),
       .per_kv_token = absl::Nanoseconds(49),
       .kv_tokens = 412'000,
       .ttft_objective = absl::Seconds(2),
       .tpot_objective = absl::Milliseconds(50),
       .default_rate = 14},
      // Llama-3.2-1B in bfloat16 on two ranks of one core each: 2.5 GB at 26 GB/s, 2.5 GFLOP per
      // token at 0.8 TFLOP/s, 32
      // KiB of keys and values per token at 20 GB/s, 4 GB of KV cache.
      {.name = "cpu-1b",
       .overhead = absl::Microseconds(300),
       .weights = absl::Milliseconds(95),
       .per_token = absl::Microseconds(3100),
       .per_kv_token = absl::Nanoseconds(1640),
       .kv_tokens = 131'000,
       .ttft_objective = absl::Seconds(20),
       .tpot_objective = absl::Milliseconds(1500),
       .default_rate = 0.12},
  };
  return *profiles;
}

absl::Duration StepDuration(const PoolProfile& profile, int64_t num_tokens, int64_t num_kv_tokens) {
  return profile.overhead + std::max(profile.weights, num_tokens * profile.per_token) +
         num_kv_tokens * profile.per_kv_token;
}

}  // namespace lockstep::simulation
