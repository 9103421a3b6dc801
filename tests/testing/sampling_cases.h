// Reads the distributions that tests/parity/sampling/dump_reference.py took from transformers.

#ifndef LOCKSTEP_TESTS_TESTING_SAMPLING_CASES_H_
#define LOCKSTEP_TESTS_TESTING_SAMPLING_CASES_H_

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

namespace lockstep::testing {

// Options that are off hold their neutral value. They apply in the order of declaration;
// presence_penalty and frequency_penalty count the answer's tokens.
struct SamplingCase {
  std::string name;  // the vector and the options that are on, e.g. "lively_top_k_5"; unique
  std::vector<float> logits;      // [vocab_size]; negative infinity where a mask forbade the token
  std::vector<uint32_t> history;  // prompt and answer so far, each below vocab_size
  uint32_t num_prompt_tokens = 0;
  std::map<uint32_t, float> logit_bias;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint32_t min_new_tokens = 0;
  std::vector<uint32_t> end_token_ids;
  std::vector<uint32_t> allowed_token_ids;  // empty: all
  float temperature = 1.0f;
  uint32_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  std::vector<bool> is_kept;         // [vocab_size]; false: filtered, never to be sampled
  std::vector<float> probabilities;  // [vocab_size]; 0 where filtered, and where float32 underflows
};

// Every case of the file. It is part of the source tree: if it is missing or damaged the process
// aborts with a message.
std::vector<SamplingCase> LoadSamplingCases(const std::filesystem::path& path);

// Names the case in GoogleTest's messages.
void PrintTo(const SamplingCase& sampling_case, std::ostream* out);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_SAMPLING_CASES_H_
