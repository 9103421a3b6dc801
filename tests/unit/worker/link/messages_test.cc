#include "worker/link/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;

TEST(Messages, APlanKeepsEveryField) {
  v1::StepPlan plan;
  plan.set_step(7);
  plan.add_released_slots(3);
  v1::AdmittedSlot& admitted = *plan.add_admitted();
  admitted.set_slot(4);
  admitted.add_token_ids(10);
  admitted.add_token_ids(11);
  admitted.set_logits(v1::LOGITS_ALL);
  admitted.set_num_prompt_logprobs(0);
  v1::Sampling& sampling = *admitted.mutable_sampling();
  sampling.set_temperature(0.5F);
  sampling.set_top_k(40);
  sampling.set_top_p(0.9F);
  sampling.set_min_p(0.1F);
  sampling.set_typical_p(0.8F);
  sampling.set_repetition_penalty(1.1F);
  sampling.set_presence_penalty(0.2F);
  sampling.set_frequency_penalty(0.3F);
  (*sampling.mutable_logit_bias())[5] = -1.0F;
  sampling.add_allowed_token_ids(6);
  sampling.set_seed(123);
  sampling.set_num_prompt_tokens(2);
  sampling.set_min_new_tokens(9);
  sampling.add_end_token_ids(8);
  sampling.set_num_logprobs(-1);
  v1::ScheduledSlot& scheduled = *plan.add_scheduled();
  scheduled.set_slot(4);
  scheduled.set_position(1);
  scheduled.set_num_tokens(2);
  scheduled.add_new_blocks(99);

  const StepPlan result = FromProto(plan);
  EXPECT_EQ(result.step, 7);
  EXPECT_THAT(result.released_slots, ElementsAre(3));
  ASSERT_EQ(result.admitted.size(), 1);
  EXPECT_EQ(result.admitted[0].slot, 4);
  EXPECT_THAT(result.admitted[0].token_ids, ElementsAre(10, 11));
  EXPECT_EQ(result.admitted[0].logits, LogitsRequest::kAll);
  EXPECT_EQ(result.admitted[0].num_prompt_logprobs, 0U);
  const SamplingParameters& parameters = result.admitted[0].sampling;
  EXPECT_EQ(parameters.temperature, 0.5F);
  EXPECT_EQ(parameters.top_k, 40);
  EXPECT_EQ(parameters.top_p, 0.9F);
  EXPECT_EQ(parameters.min_p, 0.1F);
  EXPECT_EQ(parameters.typical_p, 0.8F);
  EXPECT_EQ(parameters.repetition_penalty, 1.1F);
  EXPECT_EQ(parameters.presence_penalty, 0.2F);
  EXPECT_EQ(parameters.frequency_penalty, 0.3F);
  EXPECT_THAT(parameters.logit_bias, ElementsAre(std::pair(5U, -1.0F)));
  EXPECT_THAT(parameters.allowed_token_ids, ElementsAre(6));
  EXPECT_EQ(parameters.seed, 123);
  EXPECT_EQ(parameters.num_prompt_tokens, 2);
  EXPECT_EQ(parameters.min_new_tokens, 9);
  EXPECT_THAT(parameters.end_token_ids, ElementsAre(8));
  EXPECT_EQ(parameters.num_logprobs, -1);
  ASSERT_EQ(result.scheduled.size(), 1);
  EXPECT_EQ(result.scheduled[0].position, 1);
  EXPECT_EQ(result.scheduled[0].num_tokens, 2);
  EXPECT_THAT(result.scheduled[0].new_blocks, ElementsAre(99));
}

TEST(Messages, AConfigurationKeepsEveryField) {
  v1::Configure configure;
  configure.set_model_dir("/models/llama");
  configure.set_device("cuda");
  configure.set_dtype("float16");
  configure.set_block_size(16);
  configure.set_max_num_seqs(2);
  configure.set_max_num_batched_tokens(3);
  configure.set_max_model_len(4);
  configure.set_kv_cache_bytes(5);
  configure.set_gpu_memory_utilization(0.8);
  configure.set_enforce_eager(true);
  configure.set_num_threads(6);
  configure.set_has_own_cores(true);
  configure.set_checkpoint_fingerprint(~uint64_t{0});
  configure.set_communicator_id("pool-1");
  configure.set_collective_timeout_ms(7);
  configure.set_profile_dir("/profiles");
  configure.add_profiles()->set_first_step(8);
  configure.mutable_profiles(0)->set_num_steps(9);
  EXPECT_FALSE(FromProto(configure).tie_word_embeddings.has_value());
  configure.set_tie_word_embeddings(false);
  const WorkerConfig config = FromProto(configure);
  EXPECT_EQ(config.model_dir, "/models/llama");
  EXPECT_EQ(config.device, "cuda");
  EXPECT_EQ(config.dtype, "float16");
  EXPECT_EQ(config.block_size, 16U);
  EXPECT_EQ(config.max_num_seqs, 2U);
  EXPECT_EQ(config.max_num_batched_tokens, 3U);
  EXPECT_EQ(config.max_model_len, 4U);
  EXPECT_EQ(config.kv_cache_bytes, 5U);
  EXPECT_EQ(config.gpu_memory_utilization, 0.8);
  EXPECT_TRUE(config.enforce_eager);
  EXPECT_EQ(config.tie_word_embeddings, false);
  EXPECT_EQ(config.num_threads, 6U);
  EXPECT_TRUE(config.has_own_cores);
  EXPECT_EQ(config.checkpoint_fingerprint, ~uint64_t{0});
  EXPECT_EQ(config.communicator_id, "pool-1");
  EXPECT_EQ(config.collective_timeout_ms, 7U);
  EXPECT_EQ(config.profile_dir, "/profiles");
  ASSERT_EQ(config.profiles.size(), 1U);
  EXPECT_EQ(config.profiles[0].first, 8U);
  EXPECT_EQ(config.profiles[0].count, 9U);
}

TEST(Messages, WhatWasLoadedKeepsEveryFieldAndTheHandlesBytes) {
  const std::string handle("\0\xFF\n", 3);
  const v1::WorkerMessage message = ToProto(LoadedInfo{.num_kv_blocks = 1,
                                                       .weight_bytes = 2,
                                                       .kv_block_bytes = 3,
                                                       .device_description = "cuda:0",
                                                       .communicator_handle = handle});
  EXPECT_EQ(message.loaded().num_kv_blocks(), 1);
  EXPECT_EQ(message.loaded().weight_bytes(), 2);
  EXPECT_EQ(message.loaded().kv_block_bytes(), 3);
  EXPECT_EQ(message.loaded().device_description(), "cuda:0");
  EXPECT_EQ(message.loaded().communicator_handle(), handle);
}

}  // namespace
}  // namespace lockstep::worker
