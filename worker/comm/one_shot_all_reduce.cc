#include "worker/comm/one_shot_all_reduce.h"

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "worker/comm/poll.h"

namespace lockstep::worker {
namespace {

// Floats. Beyond 1 MiB the links' bandwidth counts, which both ways need alike.
constexpr int64_t kMinMeasuredSize = 1 << 10;
constexpr int64_t kMaxMeasuredSize = 1 << 18;
// A measurement is the median of some runs, after one that warms up, of a few sums each.
constexpr int kNumRuns = 5;
constexpr int kRunLength = 8;
// Memory that can be opened and yet is not reached, as behind some I/O MMUs, shows in this time.
constexpr absl::Duration kTrialTime = absl::Seconds(5);

// Every rank's `own`.
template <typename T>
absl::StatusOr<std::vector<T>> Gather(Communicator& communicator, at::Device device, const T& own) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto world_size = static_cast<size_t>(communicator.world_size());
  at::Tensor bytes = at::empty({static_cast<int64_t>(sizeof(T))}, at::TensorOptions(at::kByte));
  std::memcpy(bytes.mutable_data_ptr(), &own, sizeof(T));
  const at::Tensor in = bytes.to(device);
  at::Tensor out = at::empty({communicator.world_size(), in.size(0)}, in.options());
  if (absl::Status status = communicator.AllGather(in, out); !status.ok()) return status;
  if (absl::Status status = communicator.Wait(); !status.ok()) return status;
  const at::Tensor host = out.cpu();
  std::vector<T> all(world_size);
  std::memcpy(all.data(), host.const_data_ptr(), world_size * sizeof(T));
  return all;
}

absl::StatusOr<bool> AllSay(Communicator& communicator, at::Device device, bool own) {
  const absl::StatusOr<std::vector<uint8_t>> all =
      Gather(communicator, device, static_cast<uint8_t>(own));
  if (!all.ok()) return all.status();
  return std::all_of(all->begin(), all->end(), [](uint8_t says_yes) { return says_yes != 0; });
}

// Magnitudes for which the order of the additions changes the result.
at::Tensor TestData(int rank, int64_t size, at::Device device) {
  at::Tensor data = at::empty({size}, at::TensorOptions(at::kFloat));
  auto* values = data.mutable_data_ptr<float>();
  for (int64_t i = 0; i < size; ++i) {
    const auto mixed = static_cast<float>((i * 7919 + int64_t{rank} * 104729) % 1000);
    values[i] = mixed * (rank % 2 == 0 ? 1e-6F : 1.0F);
  }
  return data.to(device);
}

// The time that one `reduce` takes, milliseconds.
absl::StatusOr<float> Measure(Communicator& communicator, at::Device device,
                              absl::FunctionRef<absl::Status()> reduce) {
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream(device.index());
  std::vector<float> times;
  for (int run = 0; run <= kNumRuns; ++run) {
    at::cuda::CUDAEvent begin(cudaEventDefault);
    at::cuda::CUDAEvent end(cudaEventDefault);
    begin.record(stream);
    for (int i = 0; i < kRunLength; ++i) {
      if (absl::Status status = reduce(); !status.ok()) return status;
    }
    end.record(stream);
    if (absl::Status status = communicator.Wait(); !status.ok()) return status;
    if (run > 0) times.push_back(begin.elapsed_time(end) / kRunLength);
  }
  std::nth_element(times.begin(), times.begin() + kNumRuns / 2, times.end());
  return times[kNumRuns / 2];
}

}  // namespace

absl::Status OneShotAllReduce::Connect(Communicator& communicator) {
  if (communicator.world_size() > cuda::kMaxPeers) return absl::OkStatus();
  const c10::DeviceGuard guard(device_);
  absl::StatusOr<bool> is_usable = Open(communicator);
  if (is_usable.ok() && *is_usable) is_usable = IsRight(communicator);
  if (!is_usable.ok()) return is_usable.status();
  if (*is_usable) {
    const absl::StatusOr<int64_t> max_size = MeasureMaxSize(communicator);
    if (!max_size.ok()) return max_size.status();
    max_size_ = *max_size;
  }
  if (communicator.rank() == 0 && max_size_ > 0) {
    std::fprintf(stderr, "rank 0: sums over ranks of up to %d KiB take one kernel\n",
                 static_cast<int>(max_size_ * static_cast<int64_t>(sizeof(float)) / 1024));
  }
  return max_size_ == 0 ? Discard(communicator) : absl::OkStatus();
}

absl::StatusOr<bool> OneShotAllReduce::Open(Communicator& communicator) {
  absl::StatusOr<std::unique_ptr<PeerBuffers>> buffers = PeerBuffers::Allocate(
      communicator.rank(), communicator.world_size(), kMaxMeasuredSize, device_);
  absl::Status status = buffers.status();
  if (buffers.ok()) buffers_ = *std::move(buffers);
  // A rank without memory takes part with an address that nobody can open.
  const absl::StatusOr<std::vector<PeerAddress>> addresses =
      Gather(communicator, device_, buffers_ == nullptr ? PeerAddress() : buffers_->address());
  if (!addresses.ok()) return addresses.status();
  if (status.ok()) status = buffers_->Open(*addresses);
  if (!status.ok()) {
    std::fprintf(stderr, "rank %d: sums over ranks cannot take one kernel: %s\n",
                 communicator.rank(), std::string(status.message()).c_str());
  }
  return AllSay(communicator, device_, status.ok());
}

absl::StatusOr<bool> OneShotAllReduce::IsRight(Communicator& communicator) {
  const std::array<int64_t, 3> sizes = {3, kMaxMeasuredSize, kMaxMeasuredSize - 1};
  std::vector<at::Tensor> expected;
  std::vector<at::Tensor> sums;
  for (const int64_t size : sizes) {
    sums.push_back(TestData(communicator.rank(), size, device_));
    expected.push_back(sums.back().clone());
  }
  // Everything is enqueued before anything is waited for: a rank that gives up has done as many
  // operations as the others.
  for (size_t i = 0; i < sums.size(); ++i) {
    absl::Status status = communicator.AllReduceSum(expected[i]);
    if (!status.ok()) return status;
    buffers_->AllReduceSum(sums[i]);
  }
  at::cuda::CUDAEvent end;
  end.record(c10::cuda::getCurrentCUDAStream(device_.index()));
  const absl::Status in_time = PollUntil([&]() -> absl::StatusOr<bool> { return end.query(); },
                                         kTrialTime, "a sum in one kernel");
  if (!in_time.ok()) buffers_->Abort();
  if (absl::Status status = communicator.Wait(); !status.ok()) return status;
  bool is_right = in_time.ok();
  for (size_t i = 0; i < sums.size(); ++i) {
    is_right = is_right && sums[i].cpu().equal(expected[i].cpu());
  }
  if (!is_right) {
    std::fprintf(stderr, "rank %d: sums over ranks in one kernel %s\n", communicator.rank(),
                 in_time.ok() ? "are wrong" : "do not come");
  }
  return AllSay(communicator, device_, is_right);
}

absl::StatusOr<int64_t> OneShotAllReduce::MeasureMaxSize(Communicator& communicator) {
  struct Times {
    float one_shot;
    float other;
  };
  int64_t max_size = 0;
  for (int64_t size = kMinMeasuredSize; size <= kMaxMeasuredSize; size *= 2) {
    at::Tensor data = at::zeros({size}, at::TensorOptions(at::kFloat).device(device_));
    const absl::StatusOr<float> one_shot = Measure(communicator, device_, [&] {
      buffers_->AllReduceSum(data);
      return absl::OkStatus();
    });
    if (!one_shot.ok()) return one_shot.status();
    const absl::StatusOr<float> other =
        Measure(communicator, device_, [&] { return communicator.AllReduceSum(data); });
    if (!other.ok()) return other.status();
    const absl::StatusOr<std::vector<Times>> all =
        Gather(communicator, device_, Times{*one_shot, *other});
    if (!all.ok()) return all.status();
    // The slowest rank counts; all ranks compare the same numbers.
    Times slowest = {};
    for (const Times& times : *all) {
      slowest.one_shot = std::max(slowest.one_shot, times.one_shot);
      slowest.other = std::max(slowest.other, times.other);
    }
    if (slowest.one_shot >= slowest.other) break;
    max_size = size;
  }
  return max_size;
}

absl::Status OneShotAllReduce::Discard(Communicator& communicator) {
  if (buffers_ != nullptr) buffers_->Close();
  absl::Status status = communicator.Barrier();
  if (status.ok()) buffers_.reset();
  return status;
}

void OneShotAllReduce::Abort() {
  if (buffers_ != nullptr) buffers_->Abort();
}

}  // namespace lockstep::worker
