#include "worker/sampling/philox.h"

#include <gtest/gtest.h>

namespace lockstep::worker {
namespace {

// The known answers that the authors publish with Random123 (kat_vectors).
TEST(PhiloxTest, GivesTheAuthorsKnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(PhiloxTest, UniformNumbersAreInTheUnitIntervalAndDifferByPositionAndSeed) {
  double sum = 0.0;
  for (uint64_t position = 0; position < 1000; ++position) {
    const double number = UniformAt(7, position);
    EXPECT_GE(number, 0.0);
    EXPECT_LT(number, 1.0);
    EXPECT_NE(number, UniformAt(8, position));
    sum += number;
  }
  EXPECT_NEAR(sum / 1000.0, 0.5, 0.03);
}

}  // namespace
}  // namespace lockstep::worker
