#ifndef LOCKSTEP_WORKER_CHECKPOINT_CHECKPOINT_H_
#define LOCKSTEP_WORKER_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/safetensors_file.h"

namespace lockstep::worker {

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

// The tensors of a LlamaForCausalLM with Hugging Face's names, in the order in which the model uses
// them. Without lm_head.weight where the embedding is tied.
std::vector<ExpectedTensor> ExpectedTensors(const LlamaConfig& config);

// What a checkpoint holds of the head where config.json ties it to the embedding.
enum class TiedHead {
  kNotStored,  // as it should be
  kEqual,      // an lm_head.weight with the embedding's bytes: tied
  kDifferent,  // another lm_head.weight, which is the head, as in transformers: not tied
  kAlone,      // lm_head.weight and no embedding: it is both, as in transformers
};

// A model directory's weights: model.safetensors, or the shards that model.safetensors.index.json
// names. Opening maps the files and compares every tensor's name, shape and type with the
// configuration; it reads no weights, so it takes milliseconds, but for the head of a tied model.
// Thread-safe.
class Checkpoint {
 public:
  // NOT_FOUND, INVALID_ARGUMENT or DATA_LOSS, naming file and tensor: a file, shard or tensor that
  // is missing, superfluous, misshaped, of another type than float32, float16 and bfloat16, or
  // truncated. Ignored are rotary_emb.inv_freq buffers.
  //
  // Where config.json ties the head and both tensors are stored, they are compared up to the first
  // difference, and config.tie_word_embeddings becomes false if there is one. `is_tied` is what
  // another process found so in the same files: ranks neither read a large embedding again nor
  // decide otherwise.
  static absl::StatusOr<Checkpoint> Open(const std::filesystem::path& model_dir,
                                         LlamaConfig& config,
                                         std::optional<bool> is_tied = std::nullopt);

  // Weights that are made here: `fill` gives each tensor of ExpectedTensors its values, float32.
  static Checkpoint Make(
      const LlamaConfig& config,
      const std::function<void(const ExpectedTensor& tensor, std::span<float> values)>& fill);

  // kNotStored where config.json does not tie the head.
  TiedHead tied_head() const { return tied_head_; }
  // A tensor of ExpectedTensors; aborts for another name.
  const StoredTensor& tensor(const std::string& name) const;
  // Gives the memory of a part of a tensor's data back; see SafetensorsFile::Release.
  void Release(const std::string& name, const std::byte* begin, const std::byte* end) const;

  // Bytes of all tensors that the model uses.
  int64_t num_bytes() const { return num_bytes_; }

 private:
  struct Location {
    const SafetensorsFile* file = nullptr;  // null: in made_
    const StoredTensor* tensor = nullptr;
  };

  absl::Status OpenFiles(const std::filesystem::path& model_dir);
  absl::Status OpenShards(const std::filesystem::path& index_path);
  absl::Status AddFile(const std::filesystem::path& path);
  absl::Status CheckTensors(const LlamaConfig& config);
  absl::Status CheckTensor(const ExpectedTensor& expected) const;
  absl::Status DecideHead(std::optional<bool> is_tied, LlamaConfig& config);

  std::filesystem::path source_;  // the single file or the index, for errors
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  struct MadeTensor {
    std::vector<float> values;
    StoredTensor stored;
  };
  std::vector<std::unique_ptr<MadeTensor>> made_;
  std::map<std::string, Location> tensors_;
  TiedHead tied_head_ = TiedHead::kNotStored;
  int64_t num_bytes_ = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_CHECKPOINT_H_
