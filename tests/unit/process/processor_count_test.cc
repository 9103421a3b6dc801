#include "process/processor_count.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(ProcessorCount, CountsWholeProcessorsOfTheContainersQuota) {
  EXPECT_EQ(ProcessorsOfQuota("200000 100000\n"), 2);
  EXPECT_EQ(ProcessorsOfQuota("199999 100000"), 1);
  EXPECT_EQ(ProcessorsOfQuota("150000 100000"), 1);
  EXPECT_EQ(ProcessorsOfQuota("50000 100000"), 1) << "there is always one";
}

TEST(ProcessorCount, NoQuotaIsNoLimit) {
  EXPECT_EQ(ProcessorsOfQuota("max 100000"), 0);
  EXPECT_EQ(ProcessorsOfQuota(""), 0);
  EXPECT_EQ(ProcessorsOfQuota("100000 0"), 0);
}

TEST(ProcessorCount, ThereIsAlwaysAProcessor) {
  EXPECT_GE(NumUsableProcessors(), 1);
  EXPECT_LE(NumUsableProcessors(), AllowedProcessors().size());
}

}  // namespace
}  // namespace lockstep
