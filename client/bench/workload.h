// Which requests a benchmark sends, and when.
#ifndef LOCKSTEP_CLIENT_BENCH_WORKLOAD_H_
#define LOCKSTEP_CLIENT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::client {

struct PlannedRequest {
  double at = 0;  // seconds after the start
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 0;
  // The prompt, `input_tokens` of them; empty: random ones.
  std::vector<uint32_t> token_ids;
};

// Lengths that vary by a factor around their middle, uniformly: [length · (1 - ratio), length · (1
// + ratio)], at least 1 (vllm bench serve's --random-range-ratio).
struct LengthOptions {
  uint32_t input = 128;
  uint32_t output = 64;
  double range_ratio = 0;  // [0, 1)
};

struct ArrivalOptions {
  double rate = 0;  // requests per second; 0: all at once
  // Shape of the gamma distribution of the times between arrivals: 1 is a Poisson process, less
  // comes in bursts, more is more even (vllm bench serve's --burstiness).
  double burstiness = 1;
};

// Deterministic for a seed. In order of time, the first at 0.
std::vector<PlannedRequest> PlanRequests(size_t num_requests, const LengthOptions& lengths,
                                         const ArrivalOptions& arrivals, uint64_t seed);

// A trace of arrivals and lengths, in order of time, the first at 0. Either of
//
//   JSON lines  {"timestamp": seconds, "input_length": tokens, "output_length": tokens}; with
//               "token_ids": [ids] the prompt itself, whose length need not be given again
//   CSV         a header naming TIMESTAMP, ContextTokens and GeneratedTokens, as the Azure LLM
//               inference traces have it; timestamps in seconds, or as
//               "2023-11-16 18:15:46.6805900"
//
// INVALID_ARGUMENT naming `name` and the line of what is wrong.
absl::StatusOr<std::vector<PlannedRequest>> ReadTrace(std::istream& in, const std::string& name);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_BENCH_WORKLOAD_H_
