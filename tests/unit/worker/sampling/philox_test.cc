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

// What answers to a given seed consist of: another number would change them all. From
// tests/parity/sampling/draws.py.
TEST(PhiloxTest, ASeedAndAPositionGiveTheirNumberForEver) {
  EXPECT_EQ(UniformAt(0, 0), 0x1.c2d38b1acc4fdp-1);
  EXPECT_EQ(UniformAt(7, 1), 0x1.972f7826d05d1p-1);
  EXPECT_EQ(UniformAt(0x100000000, 1), 0x1.8c1bd0d333cc0p-2);
  EXPECT_EQ(UniformAt(0x0123456789abcdef, 5), 0x1.a208c11eaecbbp-1);
  EXPECT_EQ(UniformAt(7, 0x100000003), 0x1.5fa3a7244fd9cp-1);
}

}  // namespace
}  // namespace lockstep::worker
