#ifndef LOCKSTEP_WORKER_CHECKPOINT_LLAMA_CONFIG_H_
#define LOCKSTEP_WORKER_CHECKPOINT_LLAMA_CONFIG_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::worker {

enum class RopeType { kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongRope };

// "default", "linear", "dynamic", "llama3", "yarn" or "longrope".
std::string_view RopeTypeName(RopeType type);

// Rotary position embedding, with the meanings of Hugging Face's modeling_rope_utils.py.
struct RopeParameters {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;  // all types but default
  // llama3, yarn and longrope: the context that the model was trained with before it was extended.
  int64_t original_max_position_embeddings = 0;
  // llama3
  double low_freq_factor = 0.0;
  double high_freq_factor = 0.0;
  // yarn and longrope
  std::optional<double> attention_factor;
  // yarn
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 0.0;          // 0: not given
  double mscale_all_dim = 0.0;  // 0: not given
  bool truncate = true;
  // longrope: [head_dim / 2] each, what the wavelengths are multiplied by in sequences of up to
  // original_max_position_embeddings tokens, and in longer ones.
  std::vector<double> short_factor;
  std::vector<double> long_factor;
};

// A checkpoint's config.json, validated: every LlamaForCausalLM that this server can run.
struct LlamaConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;  // divides num_attention_heads
  int64_t head_dim = 0;             // even
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0.0;
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // of q, k, v and o
  bool mlp_bias = false;        // of gate, up and down
  RopeParameters rope;
  std::string dtype;  // torch_dtype or dtype as written ("bfloat16"); empty when absent
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;
};

// The length of the longest sequence that is rotated as every shorter one is; nothing where the
// frequencies do not depend on a length.
std::optional<int64_t> LongestWithBaseRope(const LlamaConfig& config);

// Reads and checks `model_dir`/config.json. Fields that are absent or null take the defaults of
// transformers' LlamaConfig. NOT_FOUND when there is no such file; INVALID_ARGUMENT, naming file,
// field, value and what is allowed, for broken JSON, values out of range, and models of the class
// that cannot be run exactly (another architecture, quantization, unknown RoPE type).
absl::StatusOr<LlamaConfig> LoadLlamaConfig(const std::filesystem::path& model_dir);

// The same for a text; `source` names it in errors.
absl::StatusOr<LlamaConfig> ParseLlamaConfig(std::string_view text, const std::string& source);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_LLAMA_CONFIG_H_
