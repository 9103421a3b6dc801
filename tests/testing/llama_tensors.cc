// What a Llama checkpoint consists of, and the shapes of published ones.

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_checkpoint.h"

namespace lockstep::testing {
namespace {

using Json = nlohmann::json;

// Gains that keep activations near 1 and logits near 2.5, so that greedy tokens vary and attention
// is not uniform.
constexpr double kLinearGain = 1.5;
constexpr double kHeadGain = 2.5;
constexpr double kNormStd = 0.125;
constexpr double kBiasStd = 0.25;

struct LlamaShape {
  int64_t hidden, inner, num_layers, num_heads, num_kv_heads, head_dim, vocab;
  bool tied, attention_bias, mlp_bias;
};

bool IsGiven(const Json& config, const char* key) {
  return config.contains(key) && !config[key].is_null();
}

int64_t IntegerOr(const Json& config, const char* key, int64_t fallback) {
  return IsGiven(config, key) ? config[key].get<int64_t>() : fallback;
}

bool IsTrue(const Json& config, const char* key) {
  return IsGiven(config, key) && config[key].get<bool>();
}

LlamaShape ReadShape(const Json& config) {
  LlamaShape shape{};
  shape.hidden = config.at("hidden_size").get<int64_t>();
  shape.inner = config.at("intermediate_size").get<int64_t>();
  shape.num_layers = config.at("num_hidden_layers").get<int64_t>();
  shape.num_heads = config.at("num_attention_heads").get<int64_t>();
  shape.vocab = config.at("vocab_size").get<int64_t>();
  shape.num_kv_heads = IntegerOr(config, "num_key_value_heads", shape.num_heads);
  shape.head_dim = IntegerOr(config, "head_dim", shape.hidden / shape.num_heads);
  shape.tied = IsTrue(config, "tie_word_embeddings");
  shape.attention_bias = IsTrue(config, "attention_bias");
  shape.mlp_bias = IsTrue(config, "mlp_bias");
  return shape;
}

class TensorList {
 public:
  TensorList(const LlamaShape& shape, StoredHead tied_head)
      : shape_(shape), tied_head_(tied_head) {}

  std::vector<RandomTensor> Build() {
    const double head_std = kHeadGain / std::sqrt(static_cast<double>(shape_.hidden));
    const bool is_alone = shape_.tied && tied_head_ == StoredHead::kAlone;
    tensors_.push_back({is_alone ? "lm_head.weight" : "model.embed_tokens.weight",
                        {shape_.vocab, shape_.hidden},
                        0.0,
                        shape_.tied ? head_std : 1.0});
    for (int64_t layer = 0; layer < shape_.num_layers; ++layer)
      AddLayer(absl::StrCat("model.layers.", layer, "."));
    AddNorm("model.norm");
    if (!shape_.tied || tied_head_ == StoredHead::kOwn)
      tensors_.push_back({"lm_head.weight", {shape_.vocab, shape_.hidden}, 0.0, head_std});
    return std::move(tensors_);
  }

 private:
  void AddLayer(const std::string& prefix) {
    const int64_t q_size = shape_.num_heads * shape_.head_dim;
    const int64_t kv_size = shape_.num_kv_heads * shape_.head_dim;
    AddNorm(prefix + "input_layernorm");
    AddLinear(prefix + "self_attn.q_proj", q_size, shape_.hidden, shape_.attention_bias);
    AddLinear(prefix + "self_attn.k_proj", kv_size, shape_.hidden, shape_.attention_bias);
    AddLinear(prefix + "self_attn.v_proj", kv_size, shape_.hidden, shape_.attention_bias);
    AddLinear(prefix + "self_attn.o_proj", shape_.hidden, q_size, shape_.attention_bias);
    AddNorm(prefix + "post_attention_layernorm");
    AddLinear(prefix + "mlp.gate_proj", shape_.inner, shape_.hidden, shape_.mlp_bias);
    AddLinear(prefix + "mlp.up_proj", shape_.inner, shape_.hidden, shape_.mlp_bias);
    AddLinear(prefix + "mlp.down_proj", shape_.hidden, shape_.inner, shape_.mlp_bias);
  }

  void AddNorm(const std::string& name) {
    tensors_.push_back({name + ".weight", {shape_.hidden}, 1.0, kNormStd});
  }

  void AddLinear(const std::string& name, int64_t rows, int64_t columns, bool has_bias) {
    const double std = kLinearGain / std::sqrt(static_cast<double>(columns));
    tensors_.push_back({name + ".weight", {rows, columns}, 0.0, std});
    if (has_bias) tensors_.push_back({name + ".bias", {rows}, 0.0, kBiasStd});
  }

  const LlamaShape shape_;
  const StoredHead tied_head_;
  std::vector<RandomTensor> tensors_;
};

Json Llama32OneBillion() {
  return {{"hidden_size", 2048},
          {"intermediate_size", 8192},
          {"num_hidden_layers", 16},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 8},
          {"head_dim", 64},
          {"tie_word_embeddings", true},
          {"max_position_embeddings", 131072},
          {"rope_scaling",
           {{"rope_type", "llama3"},
            {"factor", 32.0},
            {"low_freq_factor", 1.0},
            {"high_freq_factor", 4.0},
            {"original_max_position_embeddings", 8192}}}};
}

Json Llama3EightBillion() {
  return {
      {"hidden_size", 4096},          {"intermediate_size", 14336},      {"num_hidden_layers", 32},
      {"num_attention_heads", 32},    {"num_key_value_heads", 8},        {"head_dim", 128},
      {"tie_word_embeddings", false}, {"max_position_embeddings", 8192}, {"rope_scaling", nullptr}};
}

Json SmolLm2() {
  return {{"hidden_size", 576},          {"intermediate_size", 1536},
          {"num_hidden_layers", 30},     {"num_attention_heads", 9},
          {"num_key_value_heads", 3},    {"head_dim", 64},
          {"tie_word_embeddings", true}, {"max_position_embeddings", 8192},
          {"vocab_size", 49152},         {"rope_theta", 100000.0},
          {"bos_token_id", 1},           {"eos_token_id", 2},
          {"rope_scaling", nullptr}};
}

const char* StorageName(StorageType storage) {
  switch (storage) {
    case StorageType::kFloat32:
      return "float32";
    case StorageType::kFloat16:
      return "float16";
    case StorageType::kBfloat16:
      return "bfloat16";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::vector<RandomTensor>> LlamaTensors(std::string_view config_json,
                                                       StoredHead tied_head) {
  try {
    return TensorList(ReadShape(Json::parse(config_json)), tied_head).Build();
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("config.json: ", error.what()));
  }
}

absl::StatusOr<StoredHead> ParseStoredHead(std::string_view name) {
  if (name == "none") return StoredHead::kNot;
  if (name == "own") return StoredHead::kOwn;
  if (name == "alone") return StoredHead::kAlone;
  return absl::InvalidArgumentError(absl::StrCat("no stored head is called ", std::string(name)));
}

absl::StatusOr<std::string> PublishedShapeConfig(std::string_view shape, StorageType storage) {
  Json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_act", "silu"},
                 {"attention_bias", false},
                 {"mlp_bias", false},
                 {"vocab_size", 128256},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 500000.0},
                 {"bos_token_id", 128000},
                 {"eos_token_id", 128001},
                 {"torch_dtype", StorageName(storage)}};
  if (shape == "llama-3.2-1b") {
    config.update(Llama32OneBillion());
  } else if (shape == "llama-3-8b") {
    config.update(Llama3EightBillion());
  } else if (shape == "smollm2-135m") {
    config.update(SmolLm2());
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "shape \"", std::string(shape), "\" is not one of smollm2-135m, llama-3.2-1b, llama-3-8b"));
  }
  return config.dump(1);
}

}  // namespace lockstep::testing
