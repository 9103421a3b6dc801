#include "worker/link/messages.h"

#include <cstring>

namespace lockstep::worker {
namespace {

SamplingParameters FromProto(const v1::Sampling& sampling) {
  SamplingParameters result;
  result.temperature = sampling.temperature();
  result.top_k = sampling.top_k();
  result.top_p = sampling.top_p();
  result.min_p = sampling.min_p();
  result.typical_p = sampling.typical_p();
  result.repetition_penalty = sampling.repetition_penalty();
  result.presence_penalty = sampling.presence_penalty();
  result.frequency_penalty = sampling.frequency_penalty();
  result.logit_bias = {sampling.logit_bias().begin(), sampling.logit_bias().end()};
  result.allowed_token_ids = {sampling.allowed_token_ids().begin(),
                              sampling.allowed_token_ids().end()};
  result.seed = sampling.seed();
  result.num_prompt_tokens = sampling.num_prompt_tokens();
  result.min_new_tokens = sampling.min_new_tokens();
  result.end_token_ids = {sampling.end_token_ids().begin(), sampling.end_token_ids().end()};
  result.num_logprobs = sampling.num_logprobs();
  return result;
}

LogitsRequest FromProto(v1::LogitsRequest request) {
  switch (request) {
    case v1::LOGITS_LAST:
      return LogitsRequest::kLast;
    case v1::LOGITS_ALL:
      return LogitsRequest::kAll;
    default:
      return LogitsRequest::kNone;
  }
}

}  // namespace

WorkerConfig FromProto(const v1::Configure& configure) {
  WorkerConfig config;
  config.model_dir = configure.model_dir();
  config.device = configure.device();
  config.dtype = configure.dtype();
  config.block_size = configure.block_size();
  config.max_num_seqs = configure.max_num_seqs();
  config.max_num_batched_tokens = configure.max_num_batched_tokens();
  config.max_model_len = configure.max_model_len();
  config.kv_cache_bytes = configure.kv_cache_bytes();
  config.gpu_memory_utilization = configure.gpu_memory_utilization();
  config.enforce_eager = configure.enforce_eager();
  config.num_threads = configure.num_threads();
  config.has_own_cores = configure.has_own_cores();
  if (configure.has_tie_word_embeddings()) {
    config.tie_word_embeddings = configure.tie_word_embeddings();
  }
  config.checkpoint_fingerprint = configure.checkpoint_fingerprint();
  config.communicator_id = configure.communicator_id();
  config.collective_timeout_ms = configure.collective_timeout_ms();
  config.profile_dir = configure.profile_dir();
  for (const v1::StepRange& range : configure.profiles()) {
    config.profiles.push_back({.first = range.first_step(), .count = range.num_steps()});
  }
  return config;
}

StepPlan FromProto(const v1::StepPlan& plan) {
  StepPlan result;
  result.step = plan.step();
  result.released_slots = {plan.released_slots().begin(), plan.released_slots().end()};
  result.admitted.reserve(plan.admitted_size());
  for (const v1::AdmittedSlot& slot : plan.admitted()) {
    AdmittedSlot& admitted = result.admitted.emplace_back();
    admitted.slot = slot.slot();
    admitted.token_ids = {slot.token_ids().begin(), slot.token_ids().end()};
    admitted.sampling = FromProto(slot.sampling());
    admitted.logits = FromProto(slot.logits());
    if (slot.has_num_prompt_logprobs()) admitted.num_prompt_logprobs = slot.num_prompt_logprobs();
  }
  result.scheduled.reserve(plan.scheduled_size());
  for (const v1::ScheduledSlot& slot : plan.scheduled()) {
    result.scheduled.push_back({slot.slot(),
                                slot.position(),
                                slot.num_tokens(),
                                {slot.new_blocks().begin(), slot.new_blocks().end()},
                                slot.guided()});
  }
  return result;
}

TokenMasks FromProto(const v1::TokenMasks& masks) {
  TokenMasks result;
  result.step = masks.step();
  for (const v1::SlotMask& mask : masks.masks()) {
    SlotMask& copy = result.masks.emplace_back();
    copy.slot = mask.slot();
    // Little-endian words, as this machine's.
    copy.allowed.resize(mask.allowed().size() / sizeof(uint32_t));
    std::memcpy(copy.allowed.data(), mask.allowed().data(), copy.allowed.size() * sizeof(uint32_t));
  }
  return result;
}

v1::WorkerMessage ToProto(const LoadedInfo& loaded) {
  v1::WorkerMessage message;
  message.mutable_loaded()->set_num_kv_blocks(loaded.num_kv_blocks);
  message.mutable_loaded()->set_weight_bytes(loaded.weight_bytes);
  message.mutable_loaded()->set_kv_block_bytes(loaded.kv_block_bytes);
  message.mutable_loaded()->set_device_description(loaded.device_description);
  message.mutable_loaded()->set_communicator_handle(loaded.communicator_handle);
  return message;
}

}  // namespace lockstep::worker
