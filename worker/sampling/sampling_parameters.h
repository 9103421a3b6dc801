#ifndef LOCKSTEP_WORKER_SAMPLING_SAMPLING_PARAMETERS_H_
#define LOCKSTEP_WORKER_SAMPLING_SAMPLING_PARAMETERS_H_

#include <cstdint>
#include <map>
#include <vector>

namespace lockstep::worker {

// How the tokens of one slot are chosen. Values are final: the frontend has resolved the defaults.
// Mirrors Sampling in control_link.proto.
struct SamplingParameters {
  float temperature = 1.0F;  // 0: greedy
  uint32_t top_k = 0;        // 0: off
  float top_p = 1.0F;        // 1: off
  float min_p = 0.0F;        // 0: off
  float typical_p = 1.0F;
  float repetition_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  std::map<uint32_t, float> logit_bias;
  std::vector<uint32_t> allowed_token_ids;  // empty: all
  uint64_t seed = 0;
  // Of the slot's tokens this many are prompt; what follows is the answer.
  uint32_t num_prompt_tokens = 0;
  // No token of end_token_ids before the answer has this many.
  uint32_t min_new_tokens = 0;
  std::vector<uint32_t> end_token_ids;
  // Alternatives to report with each sampled token; -1: no log probabilities at all.
  int32_t num_logprobs = -1;
};

struct TokenLogprob {
  uint32_t token_id = 0;
  float logprob = 0.0F;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_SAMPLING_PARAMETERS_H_
