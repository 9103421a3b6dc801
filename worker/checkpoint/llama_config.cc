#include "worker/checkpoint/llama_config.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "worker/checkpoint/json_fields.h"
#include "worker/checkpoint/rope_config.h"

namespace lockstep::worker {
namespace {

using Json = nlohmann::json;

// Far beyond any published model; they keep products of sizes within 64 bits.
constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxTokenId = (int64_t{1} << 31) - 1;
// The attention kernels' limit.
constexpr int64_t kMaxHeadDim = 256;

constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

// transformers builds the class that model_type names, whose defaults and attention may be others
// than Llama's; architectures says what the checkpoint was saved from.
void CheckArchitecture(JsonFields& fields) {
  const Json* architectures = fields.Find("architectures");
  const std::string missing = architectures == nullptr ? "" : "llama";
  if (fields.String("model_type", missing) != "llama") {
    fields.Fail("model_type", "only \"llama\" is supported");
  }
  if (architectures == nullptr) return;
  const bool is_llama = architectures->is_array() &&
                        std::any_of(architectures->begin(), architectures->end(),
                                    [](const Json& name) { return name == "LlamaForCausalLM"; });
  if (!is_llama) fields.Fail("architectures", "only LlamaForCausalLM is supported");
}

// What would change the answers if it were ignored.
void RefuseUnsupported(JsonFields& fields) {
  if (const std::string act = fields.String("hidden_act", "silu");
      act != "silu" && act != "swish") {
    fields.Fail("hidden_act", "only \"silu\" is supported");
  }
  if (fields.Find("quantization_config") != nullptr) {
    fields.Fail(
        "quantization_config",
        "quantized checkpoints are not supported: use the float16, bfloat16 or float32 one");
  }
}

void ReadHeads(JsonFields& fields, LlamaConfig& config) {
  config.num_attention_heads = fields.RequiredInteger("num_attention_heads", 1, kMaxHeads);
  config.num_key_value_heads =
      fields.Integer("num_key_value_heads", config.num_attention_heads, 1, kMaxHeads);
  if (!fields.status().ok()) return;
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    fields.Fail("num_key_value_heads",
                absl::StrCat("it must divide num_attention_heads, ", config.num_attention_heads));
  }
  if (!fields.Has("head_dim") && config.hidden_size % config.num_attention_heads != 0) {
    fields.Fail("num_attention_heads", absl::StrCat("it must divide hidden_size, ",
                                                    config.hidden_size, ", or head_dim be given"));
  }
  config.head_dim =
      fields.Integer("head_dim", config.hidden_size / config.num_attention_heads, 1, kMaxHeadDim);
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    fields.Fail(absl::StrCat("the head size (head_dim, or hidden_size / num_attention_heads) is ",
                             config.head_dim, "; it must be even and at most ", kMaxHeadDim));
  }
}

void ReadSizes(JsonFields& fields, LlamaConfig& config) {
  config.vocab_size = fields.RequiredInteger("vocab_size", 1, kMaxVocabSize);
  config.hidden_size = fields.RequiredInteger("hidden_size", 1, kMaxWidth);
  config.intermediate_size = fields.RequiredInteger("intermediate_size", 1, kMaxWidth);
  config.num_hidden_layers = fields.RequiredInteger("num_hidden_layers", 1, kMaxLayers);
  ReadHeads(fields, config);
  config.max_position_embeddings =
      fields.Integer("max_position_embeddings", 2048, 1, kMaxPositions);
}

void ReadTokens(JsonFields& fields, LlamaConfig& config) {
  if (fields.Has("bos_token_id")) {
    config.bos_token_id = fields.Integer("bos_token_id", 0, 0, kMaxTokenId);
  }
  config.eos_token_ids = fields.Integers("eos_token_id", 0, kMaxTokenId);
}

}  // namespace

std::optional<int64_t> LongestWithBaseRope(const LlamaConfig& config) {
  if (config.rope.type == RopeType::kDynamic) return config.max_position_embeddings;
  if (config.rope.type == RopeType::kLongRope) return config.rope.original_max_position_embeddings;
  return std::nullopt;
}

absl::StatusOr<LlamaConfig> ParseLlamaConfig(std::string_view text, const std::string& source) {
  const absl::StatusOr<Json> json = ParseJson(text, source);
  if (!json.ok()) return json.status();
  if (!json->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, " holds ", ShortJson(*json), " where a JSON object must be"));
  }
  JsonFields fields(*json, std::string(source));
  LlamaConfig config;
  CheckArchitecture(fields);
  ReadSizes(fields, config);
  RefuseUnsupported(fields);
  config.rms_norm_eps = fields.Number("rms_norm_eps", 1e-6, 0.0, 1.0);
  config.tie_word_embeddings = fields.Bool("tie_word_embeddings", false);
  config.attention_bias = fields.Bool("attention_bias", false);
  config.mlp_bias = fields.Bool("mlp_bias", false);
  config.rope = ReadRopeParameters(fields, source, config.max_position_embeddings, config.head_dim);
  config.dtype = fields.String(fields.Has("dtype") ? "dtype" : "torch_dtype", "");
  ReadTokens(fields, config);
  if (!fields.status().ok()) return fields.status();
  return config;
}

absl::StatusOr<LlamaConfig> LoadLlamaConfig(const std::filesystem::path& model_dir) {
  std::error_code error;
  if (!std::filesystem::is_directory(model_dir, error)) {
    return absl::NotFoundError(absl::StrCat("model directory ", model_dir.string(),
                                            " does not exist or is not a directory"));
  }
  const std::filesystem::path path = model_dir / "config.json";
  const auto cannot_read = [&path](const std::string& why) {
    return absl::NotFoundError(absl::StrCat(path.string(), " cannot be read: ", why,
                                            "; a Hugging Face model directory has one"));
  };
  if (!std::filesystem::is_regular_file(path, error)) {
    return cannot_read(error ? error.message() : "it is not a regular file");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return cannot_read(std::strerror(errno));
  if (const auto size = std::filesystem::file_size(path, error); error || size > kMaxConfigBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is larger than ",
                                                   kMaxConfigBytes, " bytes: not a config.json"));
  }
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return ParseLlamaConfig(text, path.string());
}

}  // namespace lockstep::worker
