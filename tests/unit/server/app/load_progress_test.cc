#include "server/app/load_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

constexpr uint64_t kGigabyte = 1'000'000'000;

v1::RankInfo Rank(uint64_t loaded, uint64_t total) {
  v1::RankInfo rank;
  rank.set_bytes_loaded(loaded);
  rank.set_bytes_total(total);
  return rank;
}

TEST(LoadProgress, HasNothingToSayBeforeEveryRankHasAndWhenAllAreDone) {
  LoadProgress progress;
  EXPECT_EQ(progress.Describe({}, absl::UnixEpoch()), "");
  EXPECT_EQ(progress.Describe({Rank(1, 2), Rank(0, 0)}, absl::UnixEpoch()), "");
  EXPECT_EQ(progress.Describe({Rank(2, 2), Rank(3, 3)}, absl::UnixEpoch()), "");
}

TEST(LoadProgress, TellsShareRateAndTimeLeftByTheRankThatIsLeastFar) {
  LoadProgress progress;
  const std::string first = progress.Describe(
      {Rank(0, 8 * kGigabyte), Rank(4 * kGigabyte, 8 * kGigabyte)}, absl::UnixEpoch());
  EXPECT_THAT(first, HasSubstr("[--------------------]   0 %, 4.0 of 16.0 GB"));
  EXPECT_THAT(first, Not(HasSubstr("left"))) << "no rate is known yet";
  const std::string later =
      progress.Describe({Rank(2 * kGigabyte, 8 * kGigabyte), Rank(6 * kGigabyte, 8 * kGigabyte)},
                        absl::UnixEpoch() + absl::Seconds(1));
  EXPECT_EQ(later, "[#####---------------]  25 %, 8.0 of 16.0 GB, 4.0 GB/s, 3 s left");
}

TEST(LoadProgress, TheLinesOfALogAreAnIntervalApartAndTheFirstHasARate) {
  LoadProgress progress;
  std::vector<std::pair<int, std::string>> lines;
  for (int second = 0; second <= 12; ++second) {
    const auto loaded = static_cast<uint64_t>(second) * kGigabyte;
    const std::string line =
        progress.DescribeEvery(absl::Seconds(5), {Rank(loaded, 20 * kGigabyte)},
                               absl::UnixEpoch() + absl::Seconds(second));
    if (!line.empty()) lines.emplace_back(second, line);
  }
  EXPECT_THAT(lines, ElementsAre(Pair(5, HasSubstr("25 %, 5.0 of 20.0 GB, 1.0 GB/s, 15 s left")),
                                 Pair(10, HasSubstr("10 s left"))));
}

}  // namespace
}  // namespace lockstep::server
