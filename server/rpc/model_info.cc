#include "server/rpc/model_info.h"

namespace lockstep::server {
namespace {

void SetSizes(const worker::LlamaConfig& config, v1::GetModelInfoResponse& info) {
  info.set_vocab_size(static_cast<uint32_t>(config.vocab_size));
  info.set_hidden_size(static_cast<uint32_t>(config.hidden_size));
  info.set_intermediate_size(static_cast<uint32_t>(config.intermediate_size));
  info.set_num_hidden_layers(static_cast<uint32_t>(config.num_hidden_layers));
  info.set_num_attention_heads(static_cast<uint32_t>(config.num_attention_heads));
  info.set_num_key_value_heads(static_cast<uint32_t>(config.num_key_value_heads));
  info.set_head_dim(static_cast<uint32_t>(config.head_dim));
  info.set_tie_word_embeddings(config.tie_word_embeddings);
  info.set_num_parameters(NumParameters(config));
}

void AddSpecialTokens(const TextModel& text, v1::GetModelInfoResponse& info) {
  for (const char* role : {"bos", "eos", "pad", "unk"}) {
    const auto id = text.SpecialTokenId(std::string(role) + "_token");
    if (!id.has_value()) continue;
    auto& token = *info.add_special_tokens();
    token.set_role(role);
    token.set_id(static_cast<uint32_t>(*id));
    token.set_text(text.Decode({*id}, /*skip_special_tokens=*/false));
  }
}

void SetDefaults(const GenerationDefaults& defaults, v1::GetModelInfoResponse& info) {
  auto& sampling = *info.mutable_default_sampling();
  sampling.set_temperature(defaults.temperature);
  sampling.set_top_k(defaults.top_k);
  sampling.set_top_p(defaults.top_p);
  sampling.set_min_p(defaults.min_p);
  sampling.set_typical_p(defaults.typical_p);
  sampling.set_repetition_penalty(defaults.repetition_penalty);
  for (int32_t id : defaults.eos_token_ids) info.add_eos_token_ids(static_cast<uint32_t>(id));
}

}  // namespace

uint64_t NumParameters(const worker::LlamaConfig& c) {
  const int64_t q = c.num_attention_heads * c.head_dim;
  const int64_t kv = c.num_key_value_heads * c.head_dim;
  int64_t layer = c.hidden_size * (q + 2 * kv) + q * c.hidden_size;
  layer += 3 * c.hidden_size * c.intermediate_size + 2 * c.hidden_size;
  if (c.attention_bias) layer += q + 2 * kv + c.hidden_size;
  if (c.mlp_bias) layer += 2 * c.intermediate_size + c.hidden_size;
  const int64_t embeddings = c.vocab_size * c.hidden_size * (c.tie_word_embeddings ? 1 : 2);
  return static_cast<uint64_t>(embeddings + c.num_hidden_layers * layer + c.hidden_size);
}

v1::GetModelInfoResponse DescribeModel(const ServedModel& model, const worker::LlamaConfig& config,
                                       const TextModel& text, const std::string& dtype) {
  v1::GetModelInfoResponse info;
  info.set_model(model.name);
  // The only class that a checkpoint may have here.
  info.set_architecture("LlamaForCausalLM");
  info.set_dtype(dtype);
  SetSizes(config, info);
  info.set_max_model_len(static_cast<uint32_t>(model.max_model_len));
  SetDefaults(model.defaults, info);
  AddSpecialTokens(text, info);
  info.set_has_chat_template(text.has_chat_template());
  return info;
}

}  // namespace lockstep::server
