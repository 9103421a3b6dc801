// Reads the reference values that tests/parity/model/dump_reference.py took from transformers.

#ifndef LOCKSTEP_TESTS_TESTING_PARITY_CASES_H_
#define LOCKSTEP_TESTS_TESTING_PARITY_CASES_H_

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "tests/testing/random_checkpoint.h"

namespace lockstep::testing {

struct ParityPrompt {
  std::vector<int32_t> input_ids;
  std::vector<float>
      logits;  // [num_tokens, vocab_size], of float32 arithmetic on the stored weights
  std::vector<int32_t> greedy_ids;  // what follows the prompt, with a KV cache and past any EOS
  float greedy_margin = 0.0f;       // the smallest lead of a greedy token's logit over the next
  // Where RoPE depends on a length, else empty: greedy continuation when the whole sequence is run
  // anew for every token.
  std::vector<int32_t> greedy_ids_uncached;
  // [head_dim / 2], RoPE's inverse frequencies for this prompt, before positions are multiplied in.
  // Differs between the prompts of a case only where RoPE depends on a length.
  std::vector<float> inv_freq;
  // |logits of transformers in bfloat16 - logits|, over all positions and the vocabulary.
  float bfloat16_max_abs_error = 0.0f;
  float bfloat16_mean_abs_error = 0.0f;
};

struct ParityCase {
  std::string name;     // unique; letters, digits and underscores
  std::string comment;  // why the case exists, where the name does not say it
  RandomCheckpointOptions checkpoint;
  int64_t vocab_size = 0;
  float attention_scaling = 1.0f;  // multiplies RoPE's cosine and sine
  std::vector<ParityPrompt> prompts;
};

// Every case under `directory`. The files are part of the source tree: if they are missing or
// damaged the process aborts with a message.
std::vector<ParityCase> LoadParityCases(const std::filesystem::path& directory);

// Names the case in GoogleTest's messages.
void PrintTo(const ParityCase& parity_case, std::ostream* out);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_PARITY_CASES_H_
