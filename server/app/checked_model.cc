#include "server/app/checked_model.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/tensor_parallel.h"

namespace lockstep::server {
namespace {

// Hugging Face's cache has a checkpoint's directories a level or two below its entry.
absl::Status CheckIsNoCacheEntry(const std::filesystem::path& directory) {
  std::error_code error;
  if (std::filesystem::exists(directory / "config.json", error)) return absl::OkStatus();
  for (const auto& each : std::filesystem::directory_iterator(directory / "snapshots", error)) {
    if (!std::filesystem::exists(each.path() / "config.json", error)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--model ", directory.string(),
                     ": an entry of Hugging Face's cache; give the directory of one of its "
                     "revisions, such as ",
                     each.path().string()));
  }
  return absl::OkStatus();
}

absl::Status CheckDirectory(const std::filesystem::path& directory) {
  std::error_code error;
  const auto kind = std::filesystem::status(directory, error).type();
  if (kind == std::filesystem::file_type::directory) return CheckIsNoCacheEntry(directory);
  if (kind == std::filesystem::file_type::not_found) {
    return absl::NotFoundError(absl::StrCat(
        "--model ", directory.string(), ": no such directory; give a Hugging Face checkpoint's"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--model ", directory.string(),
                   error ? absl::StrCat(": ", error.message())
                         : ": not a directory; give the one that holds config.json"));
}

std::string StoredDtype(const worker::Checkpoint& checkpoint) {
  const std::string& stored = checkpoint.tensor("model.embed_tokens.weight").dtype;
  return stored == "F16" ? "float16" : stored == "BF16" ? "bfloat16" : "float32";
}

// What the checkpoint's authors computed in: as config.json says, else as the embedding is stored.
std::string AuthorsDtype(const worker::LlamaConfig& config, const worker::Checkpoint& checkpoint,
                         std::vector<std::string>& warnings) {
  if (config.dtype == "float32" || config.dtype == "bfloat16" || config.dtype == "float16") {
    return config.dtype;
  }
  const std::string stored = StoredDtype(checkpoint);
  if (!config.dtype.empty() && config.dtype != "auto") {
    warnings.push_back(
        absl::StrCat("config.json's dtype is '", absl::CHexEscape(config.dtype),
                     "', which is not computed in: taking ", stored,
                     " after the embedding; --dtype float32, bfloat16 or float16 chooses another"));
  }
  return stored;
}

// config.tie_word_embeddings says how it ended.
void ReportTiedHead(const std::filesystem::path& model_dir, worker::TiedHead head,
                    CheckedModel& model) {
  const std::string ties =
      absl::StrCat(model_dir.string(), ": config.json sets tie_word_embeddings, and ");
  switch (head) {
    case worker::TiedHead::kNotStored:
      return;
    case worker::TiedHead::kEqual:
      model.notes.push_back(
          absl::StrCat(ties, "the checkpoint's lm_head.weight equals the embedding: tied"));
      return;
    case worker::TiedHead::kAlone:
      model.notes.push_back(
          absl::StrCat(ties, "the checkpoint has lm_head.weight alone: it is the embedding too"));
      return;
    case worker::TiedHead::kDifferent:
      model.warnings.push_back(absl::StrCat(
          ties,
          "the checkpoint's lm_head.weight differs from the embedding: the head is not "
          "tied, as in transformers; if that is meant, set tie_word_embeddings to false"));
      return;
  }
}

// The context whose length the factor of the RoPE multiplies; 0: there is no such factor. Yarn says
// which one it is. Others have the stored one, and that of llama3 and longrope is extended already.
int64_t ContextBeforeFactor(const worker::LlamaConfig& config) {
  switch (config.rope.type) {
    case worker::RopeType::kLinear:
    case worker::RopeType::kDynamic:
      return config.max_position_embeddings;
    case worker::RopeType::kYarn:
      return config.rope.original_max_position_embeddings;
    case worker::RopeType::kDefault:
    case worker::RopeType::kLlama3:
    case worker::RopeType::kLongRope:
      return 0;
  }
  return 0;
}

// Some checkpoints store the context that their RoPE extends, and not the extended one.
int64_t LongestModelLen(const worker::LlamaConfig& config) {
  const double extended = static_cast<double>(ContextBeforeFactor(config)) * config.rope.factor;
  return std::max(config.max_position_embeddings,
                  static_cast<int64_t>(std::min(extended, double{1 << 30})));
}

absl::StatusOr<int32_t> MaxModelLen(const ServerOptions& options,
                                    const worker::LlamaConfig& config) {
  const int64_t trained = config.max_position_embeddings, longest = LongestModelLen(config);
  if (options.max_model_len > longest) {
    const std::string rope(worker::RopeTypeName(config.rope.type));
    return absl::InvalidArgumentError(absl::StrCat(
        "--max-model-len is ", options.max_model_len, ", and the checkpoint's ",
        "max_position_embeddings ", trained,
        longest > trained ? absl::StrCat(", with the factor of its ", rope, " RoPE ", longest) : "",
        ": lower it"));
  }
  return static_cast<int32_t>(options.max_model_len > 0 ? options.max_model_len : trained);
}

}  // namespace

absl::StatusOr<CheckedModel> CheckModel(const ServerOptions& options) {
  if (absl::Status status = CheckDirectory(options.model_dir); !status.ok()) return status;
  absl::StatusOr<worker::LlamaConfig> config = worker::LoadLlamaConfig(options.model_dir);
  if (!config.ok()) return config.status();
  absl::Status status = worker::CheckTensorParallel(*config, options.tensor_parallel_size);
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tensor-parallel-size: ", absl::string_view(status.message())));
  }
  const absl::StatusOr<int32_t> max_model_len = MaxModelLen(options, *config);
  if (!max_model_len.ok()) return max_model_len.status();
  const auto checkpoint = worker::Checkpoint::Open(options.model_dir, *config);
  if (!checkpoint.ok()) return checkpoint.status();
  CheckedModel model;
  ReportTiedHead(options.model_dir, checkpoint->tied_head(), model);
  model.dtype =
      options.dtype == "auto" ? AuthorsDtype(*config, *checkpoint, model.warnings) : options.dtype;
  model.max_model_len = *max_model_len;
  model.num_weight_bytes = checkpoint->num_bytes();
  model.fingerprint = worker::Fingerprint(options.model_dir, *config, *checkpoint);
  model.config = *std::move(config);
  return model;
}

}  // namespace lockstep::server
