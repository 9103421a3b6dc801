#include "worker/runtime/logit_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;
using Use = LogitSpan::Use;

LogitSpan Span(int64_t num_rows, Use use) {
  LogitSpan span;
  span.num_rows = num_rows;
  span.use = use;
  return span;
}

// (first row, number of rows) of each block.
std::vector<std::pair<int64_t, int64_t>> Rows(const std::vector<LogitBlock>& blocks) {
  std::vector<std::pair<int64_t, int64_t>> rows;
  for (const LogitBlock& block : blocks) rows.emplace_back(block.first_row, block.num_rows);
  return rows;
}

TEST(LogitBlocksTest, ShortSpansShareABlock) {
  const std::vector<LogitSpan> spans = {Span(1, Use::kSample), Span(1, Use::kReport),
                                        Span(100, Use::kPromptTokens), Span(63, Use::kReport)};
  const auto blocks = DivideLogits(spans, 256, true);
  EXPECT_THAT(Rows(blocks), ElementsAre(std::pair(0, 165)));
  EXPECT_EQ(blocks[0].sharded, nullptr);
}

TEST(LogitBlocksTest, ALongReportIsABlockOfItsOwnWhereRanksReport) {
  const std::vector<LogitSpan> spans = {Span(2, Use::kSample), Span(300, Use::kReport),
                                        Span(3, Use::kReport), Span(64, Use::kReport)};
  const auto blocks = DivideLogits(spans, 256, true);
  EXPECT_THAT(Rows(blocks), ElementsAre(std::pair(0, 2), std::pair(2, 300), std::pair(302, 3),
                                        std::pair(305, 64)));
  EXPECT_EQ(blocks[0].sharded, nullptr);
  EXPECT_EQ(blocks[1].sharded, &spans[1]);
  EXPECT_EQ(blocks[2].sharded, nullptr);
  EXPECT_EQ(blocks[3].sharded, &spans[3]);

  EXPECT_THAT(Rows(DivideLogits(spans, 256, false)),
              ElementsAre(std::pair(0, 184), std::pair(184, 185)));
}

TEST(LogitBlocksTest, NoBlockHasMoreRowsThanTheLimit) {
  const std::vector<LogitSpan> spans = {Span(1, Use::kSample), Span(1, Use::kSample),
                                        Span(1, Use::kSample)};
  EXPECT_THAT(Rows(DivideLogits(spans, 2, true)), ElementsAre(std::pair(0, 1), std::pair(1, 2)));
  EXPECT_THAT(Rows(DivideLogits(spans, 1, true)),
              ElementsAre(std::pair(0, 1), std::pair(1, 1), std::pair(2, 1)));
}

TEST(LogitBlocksTest, NoRowsAreNoBlocks) { EXPECT_TRUE(DivideLogits({}, 256, true).empty()); }

}  // namespace
}  // namespace lockstep::worker
