#include "worker/comm/communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <vector>

#include "tests/unit/worker/comm/rank_group.h"

namespace lockstep::worker {
namespace {

using ::testing::AnyOf;

at::TensorOptions Floats() { return at::TensorOptions().dtype(at::kFloat); }

// Rank `rank`'s contribution: values for which the order of additions shows.
at::Tensor Contribution(int rank, int64_t size) {
  at::Tensor data = at::empty({size}, Floats());
  for (int64_t i = 0; i < size; ++i) {
    const auto mixed = static_cast<float>((i * 31 + rank * 17) % 101) - 50.0F;
    data.data_ptr<float>()[i] = mixed * (rank % 2 == 0 ? 1.0F : 3.7e-5F);
  }
  return data;
}

std::vector<float> Values(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<float>();
  return {data, data + tensor.numel()};
}

class CommunicatorTest : public ::testing::TestWithParam<int> {};

TEST_P(CommunicatorTest, AllReduceAddsInRankOrderBitForBitOnEveryRank) {
  const int world_size = GetParam();
  RunRanks(world_size, [&](Communicator& communicator) {
    // Small, around a chunk of 65,536 elements, and several chunks.
    for (const int64_t size : {1, 3, 4096, 4097, 65'535, 65'536, 65'537, 300'001}) {
      std::vector<float> expected = Values(Contribution(0, size));
      for (int rank = 1; rank < world_size; ++rank) {
        const std::vector<float> part = Values(Contribution(rank, size));
        for (size_t i = 0; i < part.size(); ++i) expected[i] += part[i];
      }
      for (int repetition = 0; repetition < 3; ++repetition) {
        at::Tensor data = Contribution(communicator.rank(), size);
        const absl::Status status = communicator.AllReduceSum(data);
        ASSERT_TRUE(status.ok()) << status;
        ASSERT_EQ(Values(data), expected) << size << " elements";
      }
    }
  });
}

TEST_P(CommunicatorTest, AllGatherPutsTheRanksOneAfterAnother) {
  const int world_size = GetParam();
  RunRanks(world_size, [&](Communicator& communicator) {
    const at::Tensor in = at::full({3, 50'000}, communicator.rank() + 0.5, Floats());
    at::Tensor out = at::zeros({world_size, 3, 50'000}, Floats());
    ASSERT_TRUE(communicator.AllGather(in, out).ok());
    for (int rank = 0; rank < world_size; ++rank) {
      ASSERT_EQ(Values(out.select(0, rank)), std::vector<float>(150'000, rank + 0.5F));
    }
  });
}

TEST_P(CommunicatorTest, GatherColumnsBuildsWholeRowsOnRankZero) {
  const int world_size = GetParam();
  RunRanks(world_size, [&](Communicator& communicator) {
    for (const auto& [num_rows, num_columns] :
         {std::pair<int64_t, int64_t>{1, 11}, {5, 1003}, {40, 20'000}, {3, 700'001}}) {
      std::vector<int64_t> offsets;
      for (int rank = 0; rank <= world_size; ++rank) {
        offsets.push_back(num_columns * rank / world_size);
      }
      const int64_t begin = offsets[static_cast<size_t>(communicator.rank())];
      const int64_t width = offsets[static_cast<size_t>(communicator.rank()) + 1] - begin;
      at::Tensor shard = at::empty({num_rows, width}, Floats());
      for (int64_t i = 0; i < shard.numel(); ++i) {
        shard.data_ptr<float>()[i] =
            static_cast<float>((i / width * num_columns + begin + i % width) % 16'777'213);
      }
      at::Tensor out;
      if (communicator.rank() == 0) out = at::zeros({num_rows, num_columns}, Floats());
      ASSERT_TRUE(communicator.GatherColumns(shard, offsets, out).ok());
      if (communicator.rank() != 0) continue;
      for (int64_t i = 0; i < out.numel(); ++i) {
        ASSERT_EQ(out.const_data_ptr<float>()[i], static_cast<float>(i % 16'777'213))
            << num_rows << " x " << num_columns << " at " << i;
      }
    }
  });
}

TEST_P(CommunicatorTest, GatherColumnsLeavesColumnsThatAreInPlaceAsTheyAre) {
  const int world_size = GetParam();
  RunRanks(world_size, [&](Communicator& communicator) {
    constexpr int64_t kNumRows = 3;
    constexpr int64_t kWidth = 70'000;  // more than a chunk
    std::vector<int64_t> offsets;
    for (int rank = 0; rank <= world_size; ++rank) offsets.push_back(rank * kWidth);
    at::Tensor out;
    at::Tensor shard = at::full({kNumRows, kWidth}, communicator.rank() + 1.0, Floats());
    if (communicator.rank() == 0) {
      out = at::zeros({kNumRows, world_size * kWidth}, Floats());
      shard = out.narrow(1, 0, kWidth);
      shard.fill_(1.0);
    }
    ASSERT_TRUE(communicator.GatherColumns(shard, offsets, out).ok());
    if (communicator.rank() != 0) return;
    for (int64_t i = 0; i < out.numel(); ++i) {
      const auto expected = static_cast<float>(i / kWidth % world_size + 1);
      ASSERT_EQ(out.const_data_ptr<float>()[i], expected) << i;
    }
  });
}

TEST_P(CommunicatorTest, BroadcastGivesAllTheValueOfRankZeroInEveryRound) {
  RunRanks(GetParam(), [&](Communicator& communicator) {
    for (int round = 0; round < 200; ++round) {
      const int64_t size = round % 3 == 0 ? 90'000 : 1 + round;
      const double value = communicator.rank() == 0 ? round : -1.0;
      at::Tensor data = at::full({size}, value, Floats());
      ASSERT_TRUE(communicator.Broadcast(data).ok());
      ASSERT_EQ(Values(data),
                std::vector<float>(static_cast<size_t>(size), static_cast<float>(round)));
    }
  });
}

TEST_P(CommunicatorTest, OperationsMayFollowEachOtherInAnyMixture) {
  const int world_size = GetParam();
  RunRanks(world_size, [&](Communicator& communicator) {
    for (int round = 0; round < 300; ++round) {
      const int64_t size = (round * 7919) % 70'000 + 1;
      at::Tensor data = at::full({size}, round % 64, Floats());
      if (round % 4 == 1) {
        ASSERT_TRUE(communicator.Barrier().ok());
      } else if (round % 4 == 2) {
        ASSERT_TRUE(communicator.Broadcast(data).ok());
      }
      ASSERT_TRUE(communicator.AllReduceSum(data).ok());
      const auto expected = static_cast<float>(round % 64 * world_size);
      ASSERT_EQ(data.const_data_ptr<float>()[0], expected) << round;
      ASSERT_EQ(data.const_data_ptr<float>()[size - 1], expected) << round;
    }
  });
}

TEST_P(CommunicatorTest, NoRankLeavesABarrierBeforeAllHaveCome) {
  std::atomic<int> num_come{0};
  const int world_size = GetParam();
  RunRanks(world_size, [&](Communicator& communicator) {
    for (int round = 1; round <= 50; ++round) {
      ++num_come;
      ASSERT_TRUE(communicator.Barrier().ok());
      ASSERT_GE(num_come.load(), round * world_size);
    }
  });
}

TEST_P(CommunicatorTest, AbortFailsEveryRankAndEveryLaterOperation) {
  RunRanks(GetParam(), [&](Communicator& communicator) {
    at::Tensor data = at::full({10}, 1.0, Floats());
    if (communicator.rank() == communicator.world_size() - 1) {
      communicator.Abort();
    } else {
      EXPECT_EQ(communicator.Barrier().code(), absl::StatusCode::kCancelled);
    }
    EXPECT_EQ(communicator.AllReduceSum(data).code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(communicator.Broadcast(data).code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(communicator.Wait().code(), absl::StatusCode::kCancelled);
  });
}

TEST_P(CommunicatorTest, ThereIsNothingToWaitForAfterAnOperation) {
  RunRanks(GetParam(), [&](Communicator& communicator) {
    at::Tensor data = at::full({10}, 1.0, Floats());
    ASSERT_TRUE(communicator.AllReduceSum(data).ok());
    EXPECT_TRUE(communicator.Wait().ok());
  });
}

TEST(CommunicatorHandleTest, TheCpuAndSingleRanksNeedNone) {
  EXPECT_EQ(MakeCommunicatorHandle(at::kCPU, 4).value(), "");
  EXPECT_EQ(MakeCommunicatorHandle(at::Device(at::kCUDA, 0), 1).value(), "");
}

TEST(CommunicatorHandleTest, GpusAreNotConnectedByAHandleThatIsNone) {
  CommunicatorOptions options = RankOptions(UniqueId(), 0, 2);
  options.device = at::Device(at::kCUDA, 0);
  options.handle = "short";
  EXPECT_THAT(CreateCommunicator(options).status().code(),
              AnyOf(absl::StatusCode::kFailedPrecondition, absl::StatusCode::kInvalidArgument));
  options.world_size = 65;
  EXPECT_EQ(CreateCommunicator(options).status().code(), absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(WorldSize, CommunicatorTest, ::testing::Values(1, 2, 4, 8));

}  // namespace
}  // namespace lockstep::worker
