#include "client/connection.h"

#include <chrono>

#include "gtest/gtest.h"

namespace lockstep::client {
namespace {

TEST(Connection, DescribesHowFarEachRankHasLoaded) {
  v1::GetServerInfoResponse info;
  info.set_state(v1::POOL_STATE_LOADING);
  for (uint32_t rank = 0; rank < 2; ++rank) {
    v1::RankInfo& entry = *info.add_ranks();
    entry.set_rank(rank);
    entry.set_bytes_loaded((rank + 1) * 250'000'000);
    entry.set_bytes_total(1'000'000'000);
  }
  EXPECT_EQ(DescribeLoading(info), "loading: rank 0  25% of 1.00 GB · rank 1  50% of 1.00 GB");
}

TEST(Connection, SaysUnavailableAtOnceWhenNobodyListensAndNoWaitIsAskedFor) {
  CommandContext context;
  context.target = "127.0.0.1:1";
  Connection connection(context);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(connection.WaitUntilReady().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
}

TEST(Connection, PrintsFieldsByTheirNamesInTheProtoFiles) {
  v1::Usage usage;
  usage.set_prompt_tokens(3);
  EXPECT_EQ(ToJson(usage), "{\"prompt_tokens\":3}");
}

}  // namespace
}  // namespace lockstep::client
