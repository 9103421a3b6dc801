// What a request gets that says nothing: the sampling parameters that a checkpoint's authors wrote
// down.
#ifndef LOCKSTEP_SERVER_ADMISSION_GENERATION_DEFAULTS_H_
#define LOCKSTEP_SERVER_ADMISSION_GENERATION_DEFAULTS_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::server {

// From generation_config.json, read as transformers' generate() reads it:
//
//   do_sample false or absent: temperature 0 (greedy); the filters hold for requests that set a
//       temperature
//   do_sample true: temperature as written, 1 if absent
//   top_k, top_p, min_p, typical_p: as written; off if absent (also top_k, for which older
//       transformers assume 50)
//   repetition_penalty: as written, greedy or not; off if absent
//   eos_token_id: an id or a list; else config.json's, else the tokenizer's
//
// What it says about the length (max_length, max_new_tokens) is not a default here: an answer may
// use the context.
struct GenerationDefaults {
  float temperature = 0;
  uint32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float typical_p = 1;
  float repetition_penalty = 1;
  // Sorted, without duplicates, each in [0, vocab_size).
  std::vector<int32_t> eos_token_ids;
  // For the log: what the files say and this server does not do, for example beam search.
  std::vector<std::string> warnings;
};

// Both files may be absent; INVALID_ARGUMENT, naming file and field, if one of them is not what it
// should be.
absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(
    const std::filesystem::path& model_dir, int32_t vocab_size,
    std::optional<int32_t> tokenizer_eos_token_id);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_GENERATION_DEFAULTS_H_
