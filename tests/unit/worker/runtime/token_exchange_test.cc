#include "worker/runtime/token_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/worker/comm/rank_group.h"
#include "worker/device/cpu_device.h"

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;

TEST(TokenExchangeTest, EveryRankLearnsWhatRankZeroSampledStepByStep) {
  for (const int world_size : {1, 2, 4}) {
    RunRanks(world_size, [](Communicator& communicator) {
      CpuDevice device;
      TokenExchange exchange(device, 3);
      for (uint32_t step = 0; step < 20; ++step) {
        std::vector<SampledToken> sampled(2);
        sampled[0].token_id = step;
        sampled[1].token_id = 100'000 + step;
        if (communicator.rank() != 0) sampled.clear();
        const auto tokens = exchange.Share(sampled, 2, communicator);
        ASSERT_TRUE(tokens.ok()) << tokens.status();
        EXPECT_THAT(*tokens, ElementsAre(step, 100'000 + step));
      }
    });
  }
}

TEST(TokenExchangeTest, AnAbortedPoolLearnsNothing) {
  RunRanks(1, [](Communicator& communicator) {
    CpuDevice device;
    TokenExchange exchange(device, 3);
    communicator.Abort();
    EXPECT_EQ(exchange.Share({SampledToken()}, 1, communicator).status().code(),
              absl::StatusCode::kCancelled);
  });
}

}  // namespace
}  // namespace lockstep::worker
