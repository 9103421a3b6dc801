// The sum over ranks in one kernel, every rank a thread with an emulated GPU of its own. Not for a
// real GPU: ranks that wait for each other need a process each there, because the streams of one
// process may share a hardware queue. scripts/gpu-check has two processes, which compare this sum
// with NCCL's before they use it.
#include <ATen/ops/add.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "tests/unit/worker/kernels/cuda_testing.h"
#include "worker/kernels/cuda/launchers.h"

namespace lockstep::worker {
namespace {

// Beyond it the test has failed, and the kernels are told to end.
constexpr std::chrono::seconds kDeadline(60);

// The ranks' memory and what they launch.
class Ranks {
 public:
  // `last_epoch`: the number of the launch that is said to have been before.
  Ranks(int world_size, int64_t slot_size, at::Device device, int32_t last_epoch = 0)
      : world_size_(world_size),
        slot_size_(slot_size),
        slots_(at::full({world_size, 2, world_size, slot_size},
                        std::numeric_limits<float>::quiet_NaN(),
                        at::TensorOptions(at::kFloat).device(device))),
        flags_(at::full({world_size, world_size, cuda::kNumPeerBlocks}, last_epoch,
                        at::TensorOptions(at::kInt).device(device))),
        epochs_(at::full({world_size, cuda::kNumPeerBlocks}, last_epoch,
                         at::TensorOptions(at::kInt).device(device))),
        is_aborted_(at::zeros({1}, at::TensorOptions(at::kInt))) {}

  // Sums launches[i][rank] for each i in turn. False when the ranks did not end by themselves.
  bool Run(const std::vector<std::vector<at::Tensor>>& launches, bool is_descending) {
    std::vector<std::future<void>> ranks;
    for (int rank = 0; rank < world_size_; ++rank) {
      ranks.push_back(
          std::async(std::launch::async, [&, rank] { RunRank(rank, launches, is_descending); }));
    }
    bool has_ended = true;
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    for (const auto& rank : ranks) {
      if (rank.wait_until(deadline) != std::future_status::ready) has_ended = false;
    }
    Abort();
    return has_ended;
  }

  void RunRank(int rank, const std::vector<std::vector<at::Tensor>>& launches, bool is_descending) {
    using testing::emulation::ThreadOrder;
    testing::emulation::SetThreadOrder(is_descending ? ThreadOrder::kDescending
                                                     : ThreadOrder::kAscending);
    const auto index = static_cast<size_t>(rank);
    for (const std::vector<at::Tensor>& parts : launches) {
      cuda::LaunchPeerAllReduce(Arguments(rank, parts[index]), nullptr);
    }
  }

  void Abort() {
    std::atomic_ref<int32_t>(*is_aborted_.mutable_data_ptr<int32_t>())
        .store(1, std::memory_order_release);
  }

 private:
  cuda::PeerAllReduceArguments Arguments(int rank, const at::Tensor& data) const {
    cuda::PeerAllReduceArguments arguments = {.data = data.mutable_data_ptr<float>(),
                                              .size = data.numel(),
                                              .rank = rank,
                                              .world_size = world_size_,
                                              .slots = {},
                                              .flags = {},
                                              .slot_size = slot_size_,
                                              .epochs = Words(epochs_[rank]),
                                              .is_aborted = Words(is_aborted_)};
    for (int peer = 0; peer < world_size_; ++peer) {
      arguments.slots[peer] = slots_[peer].mutable_data_ptr<float>();
      arguments.flags[peer] = Words(flags_[peer]);
    }
    return arguments;
  }
  static uint32_t* Words(const at::Tensor& tensor) {
    return reinterpret_cast<uint32_t*>(tensor.mutable_data_ptr<int32_t>());
  }

  const int world_size_;
  const int64_t slot_size_;
  const at::Tensor slots_;
  const at::Tensor flags_;
  const at::Tensor epochs_;
  const at::Tensor is_aborted_;
};

class PeerAllReduceTest : public CudaOpTest {
 protected:
  // Runs one launch for each size and compares all ranks' results with sums in the order of ranks.
  // Rank 1's data are not aligned to 16 bytes in every third launch.
  void ExpectSums(int world_size, const std::vector<int64_t>& sizes, int32_t last_epoch = 0) {
    std::vector<at::Tensor> expected;
    std::vector<std::vector<at::Tensor>> launches;
    for (const int64_t size : sizes) {
      at::Tensor sum;
      std::vector<at::Tensor>& parts = launches.emplace_back();
      for (int rank = 0; rank < world_size; ++rank) {
        const auto seed = static_cast<unsigned>(launches.size() * 10) + static_cast<unsigned>(rank);
        const at::Tensor part = RandomTensor({size}, at::kFloat, seed, 100.0F);
        sum = rank == 0 ? part.clone() : at::add(sum, part);
        const int64_t offset = rank == 1 && launches.size() % 3 == 0 ? 1 : 0;
        parts.push_back(OnDevice(at::zeros({size + 1})).narrow(0, offset, size));
        parts.back().copy_(part);
      }
      expected.push_back(sum);
    }
    Ranks ranks(world_size, kSlotSize, device(), last_epoch);
    ASSERT_TRUE(ranks.Run(launches, std::get<1>(GetParam()))) << "the ranks wait for each other";
    for (size_t i = 0; i < sizes.size(); ++i) {
      for (size_t rank = 0; rank < launches[i].size(); ++rank) {
        ExpectSameBits(launches[i][rank].cpu(), expected[i],
                       "launch " + std::to_string(i) + " on rank " + std::to_string(rank) + " of " +
                           std::to_string(world_size));
      }
    }
  }

  static constexpr int64_t kSlotSize = 40'000;
};

TEST_P(PeerAllReduceTest, RanksGetTheSumInTheirOrderBitForBit) {
  for (int world_size = 2; world_size <= cuda::kMaxPeers; ++world_size) {
    ExpectSums(world_size, {1, 3, 4, 127, 128, 129, 1000, 4096, 5001, kSlotSize});
  }
}

TEST_P(PeerAllReduceTest, SizesMayChangeFromLaunchToLaunch) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < 60; ++i) sizes.push_back(1 + i * 7919 % 6000);
  ExpectSums(2, sizes);
  ExpectSums(4, sizes);
}

// The first block of the large message covers what the last block of the small one before has.
TEST_P(PeerAllReduceTest, ARankThatIsALaunchAheadOverwritesNothing) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < 100; ++i) sizes.push_back(i % 2 == 0 ? 128 : kSlotSize / 4);
  ExpectSums(2, sizes);
  ExpectSums(3, sizes);
}

TEST_P(PeerAllReduceTest, TheNumbersOfLaunchesMayWrap) {
  ExpectSums(3, {100, 5000, 100, 7, 5000, 100, 3, 5000}, /*last_epoch=*/-4);
}

TEST_P(PeerAllReduceTest, AnAbortEndsTheWaitForARankThatDoesNotCome) {
  const at::Tensor data = OnDevice(at::zeros({100}));
  Ranks ranks(2, kSlotSize, device());
  auto rank = std::async(std::launch::async,
                         [&] { ranks.RunRank(0, {{data}, {data}}, std::get<1>(GetParam())); });
  ranks.Abort();
  EXPECT_EQ(rank.wait_for(kDeadline), std::future_status::ready);
}

INSTANTIATE_TEST_SUITE_P(Orders, PeerAllReduceTest,
                         ::testing::Combine(::testing::Values(at::kFloat), ::testing::Bool()),
                         CudaOpCaseName);

}  // namespace
}  // namespace lockstep::worker
