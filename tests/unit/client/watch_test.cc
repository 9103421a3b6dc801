#include "client/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::GetServerInfoResponse Info(uint64_t generated_tokens, uint64_t hits) {
  v1::GetServerInfoResponse info;
  info.set_version("1.2");
  info.set_model("demo");
  info.set_state(v1::POOL_STATE_READY);
  info.set_num_running(3);
  info.set_num_waiting(4);
  info.set_kv_blocks_total(200);
  info.set_kv_blocks_used(50);
  info.set_generated_tokens(generated_tokens);
  info.set_prefix_cache_queries(2 * hits);
  info.set_prefix_cache_hits(hits);
  v1::RankInfo& rank = *info.add_ranks();
  rank.set_state(v1::POOL_STATE_LOADING);
  rank.set_bytes_loaded(30);
  rank.set_bytes_total(40);
  return info;
}

TEST(DrawFrame, RatesAreWhatHappenedBetweenTwoLooks) {
  const WatchFrame frame{Info(1100, 80), Info(1000, 20), 2};
  EXPECT_THAT(DrawFrame(frame),
              AllOf(HasSubstr("3 running, 4 waiting"), HasSubstr("50.0 generated"),
                    HasSubstr(" 25.0 % of 200 blocks"), HasSubstr(" 50.0 % of prompt tokens"),
                    HasSubstr("demo  ready"), HasSubstr(" 75 %")));
  EXPECT_THAT(DescribeFrame(frame), HasSubstr("50.0 tokens/s generated"));
}

TEST(DrawFrame, TheFirstLookHasNoRates) {
  const WatchFrame frame{Info(1100, 0), std::nullopt, 0};
  EXPECT_THAT(DrawFrame(frame), AllOf(HasSubstr("0.0 generated"), HasSubstr("  0.0 % of prompt")));
}

}  // namespace
}  // namespace lockstep::client
