// A tokenizer for models with random weights: it makes their directory servable, not their answers
// sensible.

#ifndef LOCKSTEP_TESTS_TESTING_PLACEHOLDER_TOKENIZER_H_
#define LOCKSTEP_TESTS_TESTING_PLACEHOLDER_TOKENIZER_H_

#include <filesystem>
#include <string_view>

#include "absl/status/status.h"

namespace lockstep::testing {

// Writes tokenizer.json, tokenizer_config.json (with a chat template) and generation_config.json
// into `directory`. Text is encoded byte by byte; ids that stand neither for a byte nor for BOS or
// EOS decode to " w<id>". The vocabulary of `config_json` must hold the 256 bytes and its
// bos_token_id and eos_token_id, each a single id where given.
absl::Status WritePlaceholderTokenizer(const std::filesystem::path& directory,
                                       std::string_view config_json);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_PLACEHOLDER_TOKENIZER_H_
