// Writes a Hugging Face directory with seeded random weights: config.json, safetensors (one file,
// or shards with an index) and, on request, a tokenizer that lets the directory be served.

#ifndef LOCKSTEP_TESTS_TESTING_RANDOM_CHECKPOINT_H_
#define LOCKSTEP_TESTS_TESTING_RANDOM_CHECKPOINT_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/testing/random_weights.h"

namespace lockstep::testing {

// How the head of a model is stored whose configuration ties it to the embedding.
enum class StoredHead { kNot, kOwn, kAlone };  // kAlone: lm_head.weight and no embedding

// "none", "own" or "alone".
absl::StatusOr<StoredHead> ParseStoredHead(std::string_view name);

struct RandomCheckpointOptions {
  std::string config_json;  // as in config.json; written unchanged
  uint64_t seed = 0;
  StorageType storage = StorageType::kFloat32;
  int num_shards =
      1;  // more than 1: model-00001-of-0000N.safetensors and model.safetensors.index.json
  StoredHead tied_head = StoredHead::kNot;
  bool with_tokenizer = false;  // byte-level; needs a vocabulary of at least 258
  std::function<void(int64_t bytes_written, int64_t bytes_total)> progress = nullptr;
};

// Creates `directory` where needed and overwrites what is in the way.
absl::Status WriteRandomCheckpoint(const std::filesystem::path& directory,
                                   const RandomCheckpointOptions& options);

// Every tensor of the LlamaForCausalLM that a config.json describes, in the order of the file.
absl::StatusOr<std::vector<RandomTensor>> LlamaTensors(std::string_view config_json,
                                                       StoredHead tied_head = StoredHead::kNot);

// The config.json of a published model's shape: "smollm2-135m", "llama-3.2-1b" or
// "llama-3-8b".
absl::StatusOr<std::string> PublishedShapeConfig(std::string_view shape, StorageType storage);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_RANDOM_CHECKPOINT_H_
