#ifndef LOCKSTEP_TESTS_UNIT_WORKER_SAMPLING_SAMPLING_CASE_PARAMETERS_H_
#define LOCKSTEP_TESTS_UNIT_WORKER_SAMPLING_SAMPLING_CASE_PARAMETERS_H_

#include "tests/testing/sampling_cases.h"
#include "worker/sampling/sampling_parameters.h"

namespace lockstep::worker {

inline SamplingParameters ParametersOf(const testing::SamplingCase& entry) {
  SamplingParameters parameters;
  parameters.logit_bias = entry.logit_bias;
  parameters.repetition_penalty = entry.repetition_penalty;
  parameters.presence_penalty = entry.presence_penalty;
  parameters.frequency_penalty = entry.frequency_penalty;
  parameters.num_prompt_tokens = entry.num_prompt_tokens;
  parameters.min_new_tokens = entry.min_new_tokens;
  parameters.end_token_ids = entry.end_token_ids;
  parameters.allowed_token_ids = entry.allowed_token_ids;
  parameters.temperature = entry.temperature;
  parameters.top_k = entry.top_k;
  parameters.top_p = entry.top_p;
  parameters.min_p = entry.min_p;
  parameters.typical_p = entry.typical_p;
  return parameters;
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_TESTS_UNIT_WORKER_SAMPLING_SAMPLING_CASE_PARAMETERS_H_
