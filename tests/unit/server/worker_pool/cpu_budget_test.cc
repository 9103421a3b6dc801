#include "server/worker_pool/cpu_budget.h"

#include <gtest/gtest.h>

namespace lockstep::server {
namespace {

TEST(CpuBudget, ReadsTheContainersQuota) {
  EXPECT_EQ(CoresOfQuota("200000 100000\n"), 2);
  EXPECT_EQ(CoresOfQuota("150000 100000"), 2);
  EXPECT_EQ(CoresOfQuota("50000 100000"), 1);
  EXPECT_EQ(CoresOfQuota("max 100000"), 0);
  EXPECT_EQ(CoresOfQuota(""), 0);
  EXPECT_EQ(CoresOfQuota("100000 0"), 0);
}

TEST(CpuBudget, ThereIsAlwaysACore) {
  EXPECT_GE(NumAvailableCores(), 1);
  EXPECT_LE(NumAvailableCores(), AllowedCores().size());
}

}  // namespace
}  // namespace lockstep::server
