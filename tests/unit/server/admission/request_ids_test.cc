#include "server/admission/request_ids.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

TEST(RequestIds, MakesDistinctIdsWhereTheClientGivesNone) {
  NumberSource numbers(1);
  RequestIds ids(1000);
  std::vector<RequestIdLease> leases;
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    auto lease = ids.Take(std::nullopt, numbers, [] {});
    ASSERT_TRUE(lease.ok()) << lease.status();
    seen.insert(lease->id());
    leases.push_back(*std::move(lease));
  }
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(RequestIds, RefusesAnIdThatIsAliveAndTakesItAfterItsEnd) {
  NumberSource numbers(1);
  RequestIds ids(10);
  {
    auto first = ids.Take("mine", numbers, [] {});
    ASSERT_TRUE(first.ok());
    RequestIdLease moved = *std::move(first);
    EXPECT_EQ(ids.Take("mine", numbers, [] {}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(ids.Take("mine", numbers, [] {}).ok());
}

TEST(RequestIds, AbortCallsTheHolderAsLongAsTheLeaseLives) {
  NumberSource numbers(1);
  RequestIds ids(10);
  int num_aborts = 0;
  {
    const auto lease = ids.Take("mine", numbers, [&] { ++num_aborts; });
    ASSERT_TRUE(lease.ok()) << lease.status();
    EXPECT_FALSE(ids.Abort("another's"));
    EXPECT_EQ(num_aborts, 0);
    EXPECT_TRUE(ids.Abort("mine"));
    EXPECT_TRUE(ids.Abort("mine"));
    EXPECT_EQ(num_aborts, 2);
  }
  EXPECT_FALSE(ids.Abort("mine"));
  EXPECT_EQ(num_aborts, 2);
}

TEST(RequestIds, RefusesBadSpellings) {
  NumberSource numbers(1);
  RequestIds ids(10);
  for (const std::string& bad :
       {std::string(), std::string(129, 'a'), std::string("a b"), std::string("a\n"),
        std::string("\0", 1), std::string("\xc3\xa9")}) {
    EXPECT_EQ(ids.Take(bad, numbers, [] {}).status().code(), absl::StatusCode::kInvalidArgument)
        << bad;
  }
  EXPECT_TRUE(ids.Take(std::string(128, 'a'), numbers, [] {}).ok());
}

TEST(RequestIds, RefusesMoreThanTheLimitWithARetryDelay) {
  NumberSource numbers(1);
  RequestIds ids(1);
  auto first = ids.Take(std::nullopt, numbers, [] {});
  const absl::Status status = ids.Take("second", numbers, [] {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(status.GetPayload(kRetryInfoUrl).has_value());
}

}  // namespace
}  // namespace lockstep::server
