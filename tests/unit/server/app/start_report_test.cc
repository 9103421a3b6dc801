#include "server/app/start_report.h"

#include <gtest/gtest.h>

namespace lockstep::server {
namespace {

void Add(v1::RankInfo& rank, const std::string& name, int milliseconds) {
  v1::StartPhase& phase = *rank.add_start_phases();
  phase.set_name(name);
  phase.mutable_duration()->set_seconds(milliseconds / 1000);
  phase.mutable_duration()->set_nanos(milliseconds % 1000 * 1'000'000);
}

TEST(StartReport, EachPhaseTookAsLongAsItsSlowestRank) {
  std::vector<v1::RankInfo> ranks(2);
  ranks[1].set_rank(1);
  Add(ranks[0], "weights", 1250);
  Add(ranks[0], "self_test", 30);
  Add(ranks[1], "weights", 2500);
  Add(ranks[1], "self_test", 10);
  EXPECT_EQ(DescribeStart(ranks), "weights 2.50 s (rank 1), self_test 0.03 s (rank 0)");
}

TEST(StartReport, ASingleRankIsNotNamed) {
  std::vector<v1::RankInfo> ranks(1);
  Add(ranks[0], "weights", 1250);
  EXPECT_EQ(DescribeStart(ranks), "weights 1.25 s");
}

TEST(StartReport, IsEmptyWhereNobodySaid) {
  EXPECT_EQ(DescribeStart({}), "");
  EXPECT_EQ(DescribeStart(std::vector<v1::RankInfo>(2)), "");
}

}  // namespace
}  // namespace lockstep::server
