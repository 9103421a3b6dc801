#include "worker/checkpoint/checkpoint.h"

#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/checkpoint/checkpoint_index.h"

namespace lockstep::worker {
namespace {

namespace fs = std::filesystem;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kHead[] = "lm_head.weight";

// Buffers that old versions of transformers saved; they follow from the configuration.
bool IsIgnored(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// Also as a link to nowhere, which is an error of its own.
bool IsThere(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

bool HaveSameBytes(const StoredTensor& a, const StoredTensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::memcmp(a.data, b.data, a.num_bytes) == 0;
}

// Why there is neither a single file nor an index, as far as the other files tell.
absl::Status NoWeights(const fs::path& model_dir) {
  std::string hint = "a Hugging Face model directory has one of them";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(model_dir, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("pytorch_model") || name.ends_with(".gguf")) {
      hint = absl::StrCat("found ", name, ": convert the weights to safetensors");
    }
    if (name.starts_with("model-") && name.ends_with(".safetensors")) {
      hint = absl::StrCat("found the shard ", name, ", but not the index that belongs to it");
      break;
    }
  }
  return absl::NotFoundError(absl::StrCat(model_dir.string(), " has neither ", kSingleFile, " nor ",
                                          kIndexFile, "; ", hint));
}

}  // namespace

std::vector<ExpectedTensor> ExpectedTensors(const LlamaConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t ffn = config.intermediate_size;
  const int64_t q_size = config.num_attention_heads * config.head_dim;
  const int64_t kv_size = config.num_key_value_heads * config.head_dim;
  std::vector<ExpectedTensor> tensors = {{kEmbedding, {config.vocab_size, hidden}}};
  const auto add_linear = [&](const std::string& name, int64_t out, int64_t in, bool has_bias) {
    tensors.push_back({name + ".weight", {out, in}});
    if (has_bias) tensors.push_back({name + ".bias", {out}});
  };
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    tensors.push_back({prefix + "input_layernorm.weight", {hidden}});
    add_linear(prefix + "self_attn.q_proj", q_size, hidden, config.attention_bias);
    add_linear(prefix + "self_attn.k_proj", kv_size, hidden, config.attention_bias);
    add_linear(prefix + "self_attn.v_proj", kv_size, hidden, config.attention_bias);
    add_linear(prefix + "self_attn.o_proj", hidden, q_size, config.attention_bias);
    tensors.push_back({prefix + "post_attention_layernorm.weight", {hidden}});
    add_linear(prefix + "mlp.gate_proj", ffn, hidden, config.mlp_bias);
    add_linear(prefix + "mlp.up_proj", ffn, hidden, config.mlp_bias);
    add_linear(prefix + "mlp.down_proj", hidden, ffn, config.mlp_bias);
  }
  tensors.push_back({"model.norm.weight", {hidden}});
  if (!config.tie_word_embeddings) tensors.push_back({kHead, {config.vocab_size, hidden}});
  return tensors;
}

absl::StatusOr<Checkpoint> Checkpoint::Open(const fs::path& model_dir, LlamaConfig& config,
                                            std::optional<bool> is_tied) {
  Checkpoint checkpoint;
  if (absl::Status status = checkpoint.OpenFiles(model_dir); !status.ok()) return status;
  if (absl::Status status = checkpoint.DecideHead(is_tied, config); !status.ok()) return status;
  if (absl::Status status = checkpoint.CheckTensors(config); !status.ok()) return status;
  return checkpoint;
}

Checkpoint Checkpoint::Make(
    const LlamaConfig& config,
    const std::function<void(const ExpectedTensor& tensor, std::span<float> values)>& fill) {
  Checkpoint checkpoint;
  for (const ExpectedTensor& expected : ExpectedTensors(config)) {
    size_t size = 1;
    for (const int64_t dimension : expected.shape) size *= static_cast<size_t>(dimension);
    auto made = std::make_unique<MadeTensor>();
    made->values.resize(size);
    fill(expected, made->values);
    made->stored = {.dtype = "F32",
                    .shape = expected.shape,
                    .data = reinterpret_cast<const std::byte*>(made->values.data()),
                    .num_bytes = size * sizeof(float)};
    checkpoint.num_bytes_ += static_cast<int64_t>(made->stored.num_bytes);
    checkpoint.tensors_.emplace(expected.name, Location{nullptr, &made->stored});
    checkpoint.made_.push_back(std::move(made));
  }
  return checkpoint;
}

absl::Status Checkpoint::OpenFiles(const fs::path& model_dir) {
  if (IsThere(model_dir / kSingleFile)) {
    source_ = model_dir / kSingleFile;
    return AddFile(source_);
  }
  if (IsThere(model_dir / kIndexFile)) return OpenShards(model_dir / kIndexFile);
  return NoWeights(model_dir);
}

absl::Status Checkpoint::OpenShards(const fs::path& index_path) {
  source_ = index_path;
  const auto index = ReadCheckpointIndex(index_path);
  if (!index.ok()) return index.status();
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : *index) shards.insert(shard);
  for (const std::string& shard : shards) {
    const fs::path path = index_path.parent_path() / shard;
    if (!IsThere(path)) {
      return absl::NotFoundError(absl::StrCat("shard ", path.string(), " is missing; ",
                                              index_path.filename().string(), " names it"));
    }
    if (absl::Status status = AddFile(path); !status.ok()) return status;
  }
  for (const auto& [tensor, shard] : *index) {
    if (IsIgnored(tensor)) continue;
    const auto it = tensors_.find(tensor);
    if (it == tensors_.end() || it->second.file->path().filename() != shard) {
      return absl::InvalidArgumentError(absl::StrCat(index_path.string(), " says that tensor ",
                                                     tensor, " is in ", shard, ", but it is not"));
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::AddFile(const fs::path& path) {
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  for (const auto& [name, tensor] : (*file)->tensors()) {
    const auto [it, inserted] = tensors_.emplace(name, Location{file->get(), &tensor});
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is both in ", path.string(),
                                                     " and in ", it->second.file->path().string()));
    }
  }
  files_.push_back(*std::move(file));
  return absl::OkStatus();
}

absl::Status Checkpoint::CheckTensors(const LlamaConfig& config) {
  std::set<std::string> known;
  for (const ExpectedTensor& expected : ExpectedTensors(config)) {
    if (absl::Status status = CheckTensor(expected); !status.ok()) return status;
    num_bytes_ += static_cast<int64_t>(tensor(expected.name).num_bytes);
    known.insert(expected.name);
  }
  for (const auto& [name, location] : tensors_) {
    if (known.contains(name) || IsIgnored(name)) continue;
    if (tied_head_ == TiedHead::kEqual && name == kHead) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        location.file->path().string(), ": tensor ", name, " ", ShapeText(location.tensor->shape),
        " does not belong to the model that config.json describes"));
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::CheckTensor(const ExpectedTensor& expected) const {
  const auto it = tensors_.find(expected.name);
  if (it == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(
        source_.string(), ": tensor ", expected.name, " ", ShapeText(expected.shape), " is missing",
        expected.name == kHead ? " (and config.json does not set tie_word_embeddings)" : ""));
  }
  const StoredTensor& tensor = *it->second.tensor;
  const std::string where =
      absl::StrCat(it->second.file->path().string(), ": tensor ", expected.name);
  if (tensor.shape != expected.shape) {
    return absl::InvalidArgumentError(absl::StrCat(where, " has shape ", ShapeText(tensor.shape),
                                                   "; by config.json it must have ",
                                                   ShapeText(expected.shape)));
  }
  if (tensor.dtype != "F32" && tensor.dtype != "F16" && tensor.dtype != "BF16") {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " is stored as ", tensor.dtype, "; supported are F32, F16 and BF16"));
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::DecideHead(std::optional<bool> is_tied, LlamaConfig& config) {
  if (!config.tie_word_embeddings || !tensors_.contains(kHead)) return absl::OkStatus();
  absl::Status status = CheckTensor({kHead, {config.vocab_size, config.hidden_size}});
  if (!status.ok()) return status;
  if (!tensors_.contains(kEmbedding)) {
    auto node = tensors_.extract(kHead);
    node.key() = kEmbedding;
    tensors_.insert(std::move(node));
    tied_head_ = TiedHead::kAlone;
    return absl::OkStatus();
  }
  // What differs as stored and is the same once converted gives the same logits either way.
  config.tie_word_embeddings =
      is_tied.has_value() ? *is_tied : HaveSameBytes(tensor(kEmbedding), tensor(kHead));
  tied_head_ = config.tie_word_embeddings ? TiedHead::kEqual : TiedHead::kDifferent;
  return absl::OkStatus();
}

const StoredTensor& Checkpoint::tensor(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) std::abort();
  return *it->second.tensor;
}

void Checkpoint::Release(const std::string& name, const std::byte* begin,
                         const std::byte* end) const {
  const auto it = tensors_.find(name);
  if (it != tensors_.end() && it->second.file != nullptr) it->second.file->Release(begin, end);
}

}  // namespace lockstep::worker
