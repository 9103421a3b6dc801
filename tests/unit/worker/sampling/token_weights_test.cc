#include "worker/sampling/token_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace lockstep::worker {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(TokenWeightsTest, MaximumIsTheLowestIndexOfEquals) {
  std::vector<float> row(1003, -1.0F);
  row[37] = 5.0F;
  row[1001] = 5.0F;
  const RowMaximum maximum = FindMaximum(row);
  EXPECT_TRUE(maximum.is_valid);
  EXPECT_EQ(maximum.index, 37);
  EXPECT_EQ(maximum.value, 5.0F);
}

TEST(TokenWeightsTest, MaximumRefusesWhatIsNotFinite) {
  for (const float bad : {NAN, -NAN, kInf}) {
    for (const size_t at : {size_t{0}, size_t{17}, size_t{64}}) {
      std::vector<float> row(65, 1.0F);
      row[at] = bad;
      EXPECT_FALSE(FindMaximum(row).is_valid) << bad << " at " << at;
    }
  }
  EXPECT_FALSE(FindMaximum(std::vector<float>(40, -kInf)).is_valid);
  EXPECT_TRUE(FindMaximum(std::vector<float>{-kInf, -3.0F}).is_valid);
}

TEST(TokenWeightsTest, ExponentialsAreAccurateToTwoUnitsInTheLastPlace) {
  std::vector<float> row;
  for (float x = -86.5F; x <= 0.0F; x += 0.0137F) row.push_back(x);
  std::vector<float> weights(row.size());
  ExpWeights(row, 0.0F, 1.0F, weights);
  for (size_t i = 0; i < row.size(); ++i) {
    const double expected = std::exp(static_cast<double>(row[i]));
    EXPECT_NEAR(weights[i] / expected, 1.0, 2.5e-7) << row[i];
  }
}

TEST(TokenWeightsTest, ExponentialsOfFarTokensAreZeroAndOfTheMaximumOne) {
  const std::vector<float> row = {-kInf, -100.0F, 0.0F, -3e38F};
  std::vector<float> weights(row.size());
  ExpWeights(row, 0.0F, 1e-30F, weights);
  EXPECT_EQ(weights, (std::vector<float>{0.0F, 0.0F, 1.0F, 0.0F}));
}

TEST(TokenWeightsTest, CumulativeSearchFindsTheTokenAndNeverOneWithoutWeight) {
  std::vector<float> weights(5000, 0.0F);
  weights[3] = 1.0F;
  weights[4000] = 2.0F;
  EXPECT_DOUBLE_EQ(SumWeights(weights), 3.0);
  EXPECT_EQ(FindCumulative(weights, 0.0), 3);
  EXPECT_EQ(FindCumulative(weights, 0.999), 3);
  EXPECT_EQ(FindCumulative(weights, 1.0), 4000);
  EXPECT_EQ(FindCumulative(weights, 2.999), 4000);
  EXPECT_EQ(FindCumulative(weights, 3.0), 4000);  // beyond the end by rounding
}

}  // namespace
}  // namespace lockstep::worker
