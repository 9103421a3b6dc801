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

// Each rank finishes its rows, once and in order, and all ranks see the rows of all: out[row] is
// the row's sums and its number, of type double so that its bytes are not those of the sums.
TEST_P(CommunicatorTest, ReduceRowsFinishesEveryRowOnOneRankAndGivesItToAll) {
  const int world_size = GetParam();
  struct Shape {
    int64_t num_rows, num_columns;
    bool may_be_shared;
  };
  RunRanks(world_size, [&](Communicator& communicator) {
    // Too few rows to share; several pieces, shares that are not equal; few rows at a time; rows
    // that do not fit a buffer.
    for (const auto& [num_rows, num_columns, may_be_shared] :
         {Shape{7, 300, false}, Shape{128, 16, true}, Shape{515, 300, true}, Shape{131, 3000, true},
          Shape{130, 30'000, false}}) {
      const int64_t size = num_rows * num_columns;
      at::Tensor sums = Contribution(communicator.rank(), size);
      ASSERT_TRUE(communicator.AllReduceSum(sums).ok());
      const std::vector<float> expected = Values(sums);
      at::Tensor partial = Contribution(communicator.rank(), size).view({num_rows, num_columns});
      const auto doubles = at::TensorOptions().dtype(at::kDouble);
      at::Tensor wide = at::zeros({num_rows, num_columns + 2}, doubles);
      at::Tensor out = wide.narrow(1, 0, num_columns);
      const RowRange own = communicator.OwnRows(partial, out);
      EXPECT_EQ(own.size() < num_rows, may_be_shared && world_size > 1);
      int64_t next = own.begin;
      const auto finish = [&](int64_t first, int64_t num) {
        EXPECT_EQ(first, next);
        next += num;
        for (int64_t row = first; row < first + num; ++row) out[row].copy_(partial[row]).add_(row);
      };
      ASSERT_TRUE(communicator.ReduceRows(partial, finish, out).ok());
      EXPECT_EQ(next, own.end);
      for (int64_t row = 0; row < num_rows; ++row) {
        const auto* values = out[row].const_data_ptr<double>();
        for (int64_t i = 0; i < num_columns; ++i) {
          ASSERT_EQ(values[i], static_cast<double>(expected[row * num_columns + i]) + row)
              << num_rows << " rows, row " << row << ", column " << i;
        }
      }
      EXPECT_TRUE(wide.narrow(1, num_columns, 2).eq(0).all().item<bool>());
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
  class Gpu : public CpuDevice {
    at::Device device() const override { return {at::kCUDA, 0}; }
  };
  Gpu gpu;
  CommunicatorOptions options = RankOptions(UniqueId(), 0, 2);
  options.device = &gpu;
  options.handle = "short";
  EXPECT_THAT(CreateCommunicator(options).status().code(),
              AnyOf(absl::StatusCode::kFailedPrecondition, absl::StatusCode::kInvalidArgument));
  options.world_size = 65;
  EXPECT_EQ(CreateCommunicator(options).status().code(), absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(WorldSize, CommunicatorTest, ::testing::Values(1, 2, 4, 8));

}  // namespace
}  // namespace lockstep::worker
