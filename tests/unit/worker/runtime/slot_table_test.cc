#include "worker/runtime/slot_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lockstep::worker {
namespace {

using ::testing::HasSubstr;

constexpr SlotTable::Limits kLimits = {.max_num_seqs = 4,
                                       .max_num_batched_tokens = 20,
                                       .max_model_len = 32,
                                       .block_size = 8,
                                       .num_kv_blocks = 10,
                                       .vocab_size = 100};

AdmittedSlot Admitted(uint32_t slot, std::vector<uint32_t> tokens) {
  AdmittedSlot admitted;
  admitted.slot = slot;
  admitted.sampling.num_prompt_tokens = static_cast<uint32_t>(tokens.size());
  admitted.token_ids = std::move(tokens);
  return admitted;
}

StepPlan Plan(uint64_t step, std::vector<AdmittedSlot> admitted,
              std::vector<ScheduledSlot> scheduled, std::vector<uint32_t> released = {}) {
  StepPlan plan;
  plan.step = step;
  plan.admitted = std::move(admitted);
  plan.scheduled = std::move(scheduled);
  plan.released_slots = std::move(released);
  return plan;
}

ScheduledSlot Scheduled(uint32_t slot, uint32_t position, uint32_t num_tokens,
                        std::vector<uint32_t> blocks = {}) {
  return {.slot = slot,
          .position = position,
          .num_tokens = num_tokens,
          .new_blocks = std::move(blocks)};
}

// A table whose slot 0 has tokens 1, 2, 3 in block 5, all run.
SlotTable OneSlot() {
  SlotTable table(kLimits);
  EXPECT_TRUE(table.Apply(Plan(1, {Admitted(0, {1, 2, 3})}, {Scheduled(0, 0, 3, {5})})).ok());
  return table;
}

void ExpectRefused(SlotTable table, const StepPlan& plan, const char* what) {
  const auto runs = table.Apply(plan);
  EXPECT_EQ(runs.status().code(), absl::StatusCode::kInternal) << what;
  EXPECT_THAT(std::string(runs.status().message()), HasSubstr(what));
}

TEST(SlotTableTest, ASampledTokenRunsInTheNextStep) {
  SlotTable table = OneSlot();
  table.Append(0, 42);
  const auto runs = table.Apply(Plan(2, {}, {Scheduled(0, 3, 1)}));
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_EQ(runs->size(), 1U);
  EXPECT_TRUE((*runs)[0].is_decode);
  EXPECT_TRUE((*runs)[0].reaches_end);
  EXPECT_EQ(table.slot(0).token_ids, (std::vector<uint32_t>{1, 2, 3, 42}));
}

TEST(SlotTableTest, DecodesComeBeforeChunksWhateverThePlansOrder) {
  SlotTable table = OneSlot();
  table.Append(0, 42);
  const auto runs =
      table.Apply(Plan(2, {Admitted(1, {9}), Admitted(2, {7, 8})},
                       {Scheduled(1, 0, 1, {1}), Scheduled(2, 0, 1, {2}), Scheduled(0, 3, 1)}));
  ASSERT_TRUE(runs.ok()) << runs.status();
  EXPECT_EQ((*runs)[0].slot, 0U);
  EXPECT_FALSE((*runs)[1].is_decode) << "a prompt of one token is no decode";
  EXPECT_TRUE((*runs)[1].reaches_end);
  EXPECT_FALSE((*runs)[2].reaches_end);
}

TEST(SlotTableTest, AReleasedSlotIsEmptyAndCanBeTakenInTheSameStep) {
  SlotTable table = OneSlot();
  const auto runs = table.Apply(Plan(2, {Admitted(0, {4})}, {Scheduled(0, 0, 1, {6})}, {0}));
  ASSERT_TRUE(runs.ok()) << runs.status();
  EXPECT_EQ(table.slot(0).blocks, (std::vector<int32_t>{6}));
}

TEST(SlotTableTest, AFirstRunMayBeginBehindACachedPrefix) {
  SlotTable table(kLimits);
  EXPECT_TRUE(
      table
          .Apply(Plan(1, {Admitted(0, std::vector<uint32_t>(12, 3))}, {Scheduled(0, 8, 4, {5, 6})}))
          .ok());
}

uint64_t Hash(const SlotTable& table) { return table.StateHashAfter(table.plan_hash()); }

TEST(SlotTableTest, HashesAgreeForEqualHistoriesAndDifferForOthers) {
  SlotTable a = OneSlot();
  SlotTable b = OneSlot();
  EXPECT_EQ(Hash(a), Hash(b));
  a.Append(0, 1);
  b.Append(0, 2);
  EXPECT_NE(Hash(a), Hash(b));
  SlotTable other_block(kLimits);
  ASSERT_TRUE(other_block.Apply(Plan(1, {Admitted(0, {1, 2, 3})}, {Scheduled(0, 0, 3, {4})})).ok());
  EXPECT_NE(Hash(other_block), Hash(OneSlot()));
}

TEST(SlotTableTest, APendingTokenRunsBeforeItIsKnown) {
  SlotTable table = OneSlot();
  const SlotTable::TokenPlace place = table.AppendPending(0);
  EXPECT_EQ(table.slot(0).token_ids.back(), kPendingToken);
  ASSERT_TRUE(table.Apply(Plan(2, {}, {Scheduled(0, 3, 1)})).ok());
  table.Resolve(place, 42);
  EXPECT_EQ(table.slot(0).token_ids, (std::vector<uint32_t>{1, 2, 3, 42}));
}

TEST(SlotTableTest, ATokenThatComesAfterItsSequenceHasEndedGoesToNobody) {
  SlotTable table = OneSlot();
  const SlotTable::TokenPlace place = table.AppendPending(0);
  ASSERT_TRUE(
      table.Apply(Plan(2, {Admitted(0, {4, 5, 6, 7})}, {Scheduled(0, 0, 4, {6})}, {0})).ok());
  table.Resolve(place, 42);
  EXPECT_EQ(table.slot(0).token_ids, (std::vector<uint32_t>{4, 5, 6, 7}));
}

TEST(SlotTableTest, TheHashDoesNotTellWhetherThePlanOrTheTokenCameFirst) {
  const StepPlan next = Plan(2, {}, {Scheduled(0, 3, 1)});
  SlotTable token_first = OneSlot();
  token_first.Append(0, 42);
  ASSERT_TRUE(token_first.Apply(next).ok());
  SlotTable plan_first = OneSlot();
  const uint64_t plan_hash = plan_first.plan_hash();
  const SlotTable::TokenPlace place = plan_first.AppendPending(0);
  ASSERT_TRUE(plan_first.Apply(next).ok());
  plan_first.Resolve(place, 42);
  EXPECT_EQ(Hash(plan_first), Hash(token_first));
  EXPECT_NE(plan_first.StateHashAfter(plan_hash), Hash(plan_first));
}

TEST(SlotTableTest, RefusesPlansThatBreakTheContract) {
  ExpectRefused(OneSlot(), Plan(3, {}, {}), "expected number 2");
  ExpectRefused(OneSlot(), Plan(1, {}, {}), "expected number 2");
  ExpectRefused(OneSlot(), Plan(2, {}, {}, {1}), "slot 1 is released");
  ExpectRefused(OneSlot(), Plan(2, {}, {}, {4'000'000'000}), "is released");
  ExpectRefused(OneSlot(), Plan(2, {Admitted(0, {1})}, {}), "slot 0 is admitted but in use");
  ExpectRefused(OneSlot(), Plan(2, {Admitted(4, {1})}, {}), "max_num_seqs, 4");
  ExpectRefused(OneSlot(), Plan(2, {Admitted(1, {})}, {}), "0 tokens");
  ExpectRefused(OneSlot(), Plan(2, {Admitted(1, std::vector<uint32_t>(33, 1))}, {}), "33 tokens");
  ExpectRefused(OneSlot(), Plan(2, {Admitted(1, {100})}, {}), "token 100");
  ExpectRefused(OneSlot(), Plan(2, {}, {Scheduled(2, 0, 1)}), "slot 2 is scheduled but not in use");
  ExpectRefused(OneSlot(), Plan(2, {}, {Scheduled(0, 3, 1)}), "slot 0 is to run 1 tokens");
  ExpectRefused(OneSlot(), Plan(2, {}, {Scheduled(0, 0, 0)}), "slot 0 is to run 0 tokens");
  ExpectRefused(OneSlot(), Plan(2, {}, {Scheduled(0, 4'294'967'295, 2)}), "slot 0 is to run");
  ExpectRefused(OneSlot(), Plan(2, {}, {Scheduled(0, 2, 1), Scheduled(0, 2, 1)}), "twice");
  ExpectRefused(OneSlot(), Plan(2, {}, {Scheduled(0, 2, 1, {10})}), "block 10");
  ExpectRefused(OneSlot(), Plan(2, {Admitted(1, {1, 2})}, {Scheduled(1, 0, 2)}), "0 blocks");
  ExpectRefused(
      OneSlot(),
      Plan(2, {Admitted(1, std::vector<uint32_t>(21, 1))}, {Scheduled(1, 0, 21, {1, 2, 3})}),
      "max_num_batched_tokens is 20");
}

TEST(SlotTableTest, RefusesToSkipTokens) {
  SlotTable table(kLimits);
  ASSERT_TRUE(
      table
          .Apply(Plan(1, {Admitted(0, std::vector<uint32_t>(12, 3))}, {Scheduled(0, 0, 4, {5, 6})}))
          .ok());
  ExpectRefused(table, Plan(2, {}, {Scheduled(0, 5, 2)}), "have not run");
}

}  // namespace
}  // namespace lockstep::worker
