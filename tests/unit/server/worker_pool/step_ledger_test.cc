#include "server/worker_pool/step_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StepResult ResultOf(uint64_t step, uint64_t hash) {
  StepResult result;
  result.fields.set_step(step);
  result.fields.set_state_hash(hash);
  return result;
}

TEST(StepLedger, CompletesStepsInOrderOnceEveryRankHasAnswered) {
  StepLedger ledger(2);
  std::vector<StepResult> complete;
  const absl::Time now = absl::UnixEpoch();
  ASSERT_TRUE(ledger.Submit(1, now).ok());
  ASSERT_TRUE(ledger.Submit(2, now).ok());
  ASSERT_TRUE(ledger.Answer(1, ResultOf(1, 7), now, complete).ok());
  ASSERT_TRUE(ledger.Answer(1, ResultOf(2, 8), now, complete).ok());
  EXPECT_TRUE(complete.empty());
  EXPECT_THAT(ledger.RanksWithoutAnswer(), ElementsAre(0));
  StepResult from_rank_0 = ResultOf(1, 7);
  from_rank_0.fields.add_sampled()->set_token_id(42);
  ASSERT_TRUE(ledger.Answer(0, from_rank_0, now, complete).ok());
  ASSERT_EQ(complete.size(), 1);
  EXPECT_EQ(complete[0].fields.sampled(0).token_id(), 42);
  ASSERT_TRUE(ledger.Answer(0, ResultOf(2, 8), now, complete).ok());
  ASSERT_EQ(complete.size(), 2);
  EXPECT_EQ(complete[1].fields.step(), 2);
  EXPECT_TRUE(ledger.is_idle());
}

TEST(StepLedger, NamesTheRankWhoseHashDiffers) {
  StepLedger ledger(3);
  std::vector<StepResult> complete;
  ASSERT_TRUE(ledger.Submit(1, absl::UnixEpoch()).ok());
  ASSERT_TRUE(ledger.Answer(0, ResultOf(1, 7), absl::UnixEpoch(), complete).ok());
  ASSERT_TRUE(ledger.Answer(1, ResultOf(1, 9), absl::UnixEpoch(), complete).ok());
  const absl::Status status = ledger.Answer(2, ResultOf(1, 7), absl::UnixEpoch(), complete);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("after step 1"), HasSubstr("0000000000000009 on rank 1"),
                    HasSubstr("0000000000000007 on rank 0, 2")));
  EXPECT_TRUE(complete.empty());
}

TEST(StepLedger, RefusesAnswersOutOfOrder) {
  StepLedger ledger(1);
  std::vector<StepResult> complete;
  EXPECT_FALSE(ledger.Answer(0, ResultOf(1, 0), absl::UnixEpoch(), complete).ok());
  ASSERT_TRUE(ledger.Submit(1, absl::UnixEpoch()).ok());
  EXPECT_FALSE(ledger.Answer(0, ResultOf(2, 0), absl::UnixEpoch(), complete).ok());
}

TEST(StepLedger, RefusesAGapBetweenSteps) {
  StepLedger ledger(1);
  EXPECT_FALSE(ledger.Submit(2, absl::UnixEpoch()).ok());
}

TEST(StepLedger, JoinsTheLogitsOfAResultThatComesInParts) {
  StepLedger ledger(1);
  std::vector<StepResult> complete;
  ASSERT_TRUE(ledger.Submit(1, absl::UnixEpoch()).ok());
  for (int row = 0; row < 3; ++row) {
    StepResult part = ResultOf(1, row == 2 ? 5 : 0);
    part.fields.set_more(row < 2);
    part.logits.push_back({0, static_cast<uint32_t>(row), 1, {}});
    if (row == 2) part.fields.add_sampled()->set_token_id(9);
    ASSERT_TRUE(ledger.Answer(0, part, absl::UnixEpoch(), complete).ok());
    EXPECT_EQ(complete.size(), row == 2 ? 1 : 0);
  }
  EXPECT_FALSE(complete[0].fields.more());
  EXPECT_EQ(complete[0].fields.sampled(0).token_id(), 9);
  ASSERT_EQ(complete[0].logits.size(), 3);
  for (uint32_t row = 0; row < 3; ++row) EXPECT_EQ(complete[0].logits[row].position, row);
}

// Two rows of a slot, of which this rank has these columns.
void AddLogits(uint32_t slot, uint32_t position, const std::string& columns, StepResult& result) {
  const auto owner = std::make_shared<const std::string>(columns);
  result.logits.push_back({slot, position, 2, {{*owner, owner}}});
}

std::vector<std::string> Shards(const SlotLogits& logits) {
  std::vector<std::string> shards;
  for (const LogitShard& shard : logits.shards) shards.emplace_back(shard.bytes);
  return shards;
}

TEST(StepLedger, PutsTheShardsOfAllRanksSideBySide) {
  StepLedger ledger(3);
  std::vector<StepResult> complete;
  ASSERT_TRUE(ledger.Submit(1, absl::UnixEpoch()).ok());
  for (const uint32_t rank : {2, 0, 1}) {
    StepResult first = ResultOf(1, 0), last = ResultOf(1, 5);
    first.fields.set_more(true);
    last.fields.set_duration_ns(rank == 1 ? 20 : 10);
    AddLogits(0, 4, std::to_string(rank), first);
    if (rank == 0) AddLogits(1, 0, "whole", last);
    AddLogits(0, 6, std::to_string(rank), last);
    ASSERT_TRUE(ledger.Answer(rank, first, absl::UnixEpoch(), complete).ok());
    ASSERT_TRUE(ledger.Answer(rank, last, absl::UnixEpoch(), complete).ok());
  }
  ASSERT_EQ(complete.size(), 1);
  EXPECT_EQ(complete[0].fields.duration_ns(), 20);
  ASSERT_EQ(complete[0].logits.size(), 3);
  EXPECT_THAT(Shards(complete[0].logits[0]), ElementsAre("0", "1", "2"));
  EXPECT_THAT(Shards(complete[0].logits[1]), ElementsAre("whole"));
  EXPECT_THAT(Shards(complete[0].logits[2]), ElementsAre("0", "1", "2"));
}

TEST(StepLedger, RefusesShardsOfOtherRows) {
  StepLedger ledger(2);
  std::vector<StepResult> complete;
  ASSERT_TRUE(ledger.Submit(1, absl::UnixEpoch()).ok());
  StepResult of_rank_0 = ResultOf(1, 5), of_rank_1 = ResultOf(1, 5);
  AddLogits(0, 4, "left", of_rank_0);
  AddLogits(0, 5, "right", of_rank_1);
  ASSERT_TRUE(ledger.Answer(0, of_rank_0, absl::UnixEpoch(), complete).ok());
  EXPECT_THAT(ledger.Answer(1, of_rank_1, absl::UnixEpoch(), complete).message(),
              AllOf(HasSubstr("rank 1"), HasSubstr("step 1"), HasSubstr("rows")));
}

TEST(StepLedger, TheOldestStepsClockStartsWhenItBecomesTheOldest) {
  StepLedger ledger(1);
  std::vector<StepResult> complete;
  const absl::Time start = absl::UnixEpoch();
  ASSERT_TRUE(ledger.Submit(1, start).ok());
  ASSERT_TRUE(ledger.Submit(2, start).ok());
  EXPECT_EQ(ledger.oldest_since(), start);
  ASSERT_TRUE(ledger.Answer(0, ResultOf(1, 0), start + absl::Seconds(5), complete).ok());
  EXPECT_EQ(ledger.oldest_since(), start + absl::Seconds(5));
  EXPECT_EQ(ledger.oldest_step(), 2);
}

}  // namespace
}  // namespace lockstep::server
