#include "worker/runtime/weight_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// The shape of Llama-3-8B.
LlamaConfig Config() {
  LlamaConfig config;
  config.vocab_size = 128256;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.num_hidden_layers = 32;
  config.num_attention_heads = 32;
  config.num_key_value_heads = 8;
  config.head_dim = 128;
  return config;
}

constexpr uint64_t kGigabyte = 1'000'000'000;

// On a GPU of the rank's own.
absl::Status Check(int world_size, c10::ScalarType dtype, uint64_t free_bytes) {
  const WeightMemory memory = {.bytes = {.total_bytes = 80 * kGigabyte, .free_bytes = free_bytes}};
  return CheckWeightsFit(Config(), MakeShardPlan(Config(), 0, world_size), dtype, memory);
}

// In memory that all ranks share.
absl::Status CheckShared(int world_size, c10::ScalarType dtype, const DeviceMemory& bytes) {
  return CheckWeightsFit(Config(), MakeShardPlan(Config(), 0, world_size), dtype,
                         {.bytes = bytes, .num_ranks = world_size, .is_shared = true});
}

TEST(WeightBudgetTest, TheRanksDivideTheWeights) {
  EXPECT_NEAR(
      static_cast<double>(WeightBytes(Config(), MakeShardPlan(Config(), 0, 1), c10::kBFloat16)),
      16.06e9, 0.01e9);
  EXPECT_NEAR(
      static_cast<double>(WeightBytes(Config(), MakeShardPlan(Config(), 3, 4), c10::kBFloat16)),
      16.06e9 / 4, 0.01e9);
}

TEST(WeightBudgetTest, WhatFitsIsAccepted) {
  EXPECT_TRUE(Check(1, c10::kBFloat16, 17 * kGigabyte).ok());
  EXPECT_TRUE(Check(8, c10::kBFloat16, 3 * kGigabyte).ok());
}

TEST(WeightBudgetTest, WhatDoesNotFitIsRefusedWithTheRanksThatWouldDo) {
  const absl::Status status = Check(1, c10::kBFloat16, 5 * kGigabyte);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("rank 0's share of the weights takes 16060"),
            HasSubstr("5000000000 bytes of memory free"), HasSubstr("--tensor-parallel-size 4")));
}

TEST(WeightBudgetTest, WithoutMoreRanksADtypeOfHalfTheBitsMayDo) {
  EXPECT_THAT(std::string(Check(8, c10::kFloat, 3 * kGigabyte).message()),
              HasSubstr("--dtype bfloat16"));
  EXPECT_THAT(std::string(Check(8, c10::kBFloat16, kGigabyte).message()),
              HasSubstr("a smaller model is needed"));
}

TEST(WeightBudgetTest, WhereRanksShareTheMemoryMoreOfThemAreNoRemedy) {
  const DeviceMemory small = {.total_bytes = 20 * kGigabyte, .free_bytes = 12 * kGigabyte};
  const absl::Status status = CheckShared(1, c10::kBFloat16, small);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("12000000000 bytes of memory free: more ranks would share"),
                    Not(HasSubstr("--tensor-parallel-size"))));
  const DeviceMemory middle = {.total_bytes = 40 * kGigabyte, .free_bytes = 20 * kGigabyte};
  EXPECT_THAT(std::string(CheckShared(1, c10::kFloat, middle).message()),
              HasSubstr("--dtype bfloat16"));
}

TEST(WeightBudgetTest, WhereRanksShareTheMemoryItHasToHoldTheSharesOfAll) {
  const DeviceMemory memory = {.total_bytes = 15 * kGigabyte, .free_bytes = 12 * kGigabyte};
  const absl::Status status = CheckShared(2, c10::kBFloat16, memory);
  EXPECT_THAT(std::string(status.message()), HasSubstr("of 15000000000 that 2 ranks divide"));
  EXPECT_TRUE(
      CheckShared(2, c10::kBFloat16, {.total_bytes = 17 * kGigabyte, .free_bytes = 9 * kGigabyte})
          .ok())
      << "the other rank may have loaded its share";
}

}  // namespace
}  // namespace lockstep::worker
