#include "worker/comm/nccl_communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "worker/comm/nccl_sum.h"
#include "worker/comm/one_shot_all_reduce.h"
#include "worker/comm/poll.h"
#include "worker/kernels/cuda/ops.h"

namespace lockstep::worker {
namespace {

// `details`: of ncclGetLastError.
absl::Status FromNccl(ncclResult_t result, const std::string& what, const char* details) {
  const std::string text =
      absl::StrCat(what, ": ", ncclGetErrorString(result), ": ", details == nullptr ? "" : details);
  switch (result) {
    case ncclSuccess:
    case ncclInProgress:
      return absl::OkStatus();
    case ncclRemoteError:  // another rank has ended or failed
    case ncclSystemError:  // most often a connection that broke
      return absl::UnavailableError(text);
    case ncclInvalidUsage:
      return absl::FailedPreconditionError(
          absl::StrCat(text,
                       "; each rank needs a GPU of its own: lower --tensor-parallel-size, or see "
                       "which one each worker takes (CUDA_VISIBLE_DEVICES, LOCAL_RANK)"));
    default:
      return absl::InternalError(absl::StrCat(text, " (NCCL_DEBUG=WARN says more)"));
  }
}

bool IsUnderWay(ncclResult_t result) { return result == ncclSuccess || result == ncclInProgress; }

// What enqueue(rank) asks for, of all ranks, as one operation.
template <typename Enqueue>
ncclResult_t AsGroup(int world_size, const Enqueue& enqueue) {
  ncclResult_t result = ncclGroupStart();
  for (int rank = 0; rank < world_size && IsUnderWay(result); ++rank) result = enqueue(rank);
  const ncclResult_t ended = ncclGroupEnd();
  return IsUnderWay(result) ? ended : result;
}

class NcclCommunicator : public Communicator {
 public:
  explicit NcclCommunicator(const CommunicatorOptions& options)
      : Communicator(*options.device, options.timeout),
        rank_(options.rank),
        world_size_(options.world_size),
        device_(options.device->device()),
        shares_device_(options.device->num_ranks() > 1),
        one_shot_(device_) {}
  // No peer is waited for: after errors there may be none, and otherwise nothing is under way. What
  // is ended before one_shot_ waits for the device.
  ~NcclCommunicator() override;

  absl::Status Attach(const std::string& handle);

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  absl::Status AllReduceSum(at::Tensor& data) override;
  absl::Status AllGather(const at::Tensor& in, at::Tensor& out) override;
  absl::Status GatherColumns(const at::Tensor& shard, std::span<const int64_t> column_offsets,
                             at::Tensor& out) override;
  absl::Status Broadcast(at::Tensor& data) override;
  absl::Status Barrier() override;
  absl::Status Check() override { return HasSettled().status(); }
  void Abort() override;

 private:
  absl::Status SumGathered(at::Tensor& data);
  absl::Status SumSlices(at::Tensor& data);
  // Makes NCCL's calls in `enqueue` with the communicator and the current stream, and returns when
  // NCCL has enqueued what they ask for.
  template <typename Enqueue>
  absl::Status Run(const char* what, const Enqueue& enqueue);
  // Whether NCCL's last call has come to its end.
  absl::StatusOr<bool> HasSettled() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Settle(const char* what) ABSL_LOCKS_EXCLUDED(mutex_);
  cudaStream_t Stream() const { return c10::cuda::getCurrentCUDAStream(device_.index()).stream(); }

  const int rank_;
  const int world_size_;
  const at::Device device_;
  const bool shares_device_;
  at::Tensor barrier_;  // [1] float32
  OneShotAllReduce one_shot_;

  absl::Mutex mutex_;
  // Null before Attach and after Abort.
  ncclComm_t comm_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread aborting_ ABSL_GUARDED_BY(mutex_);
};

absl::Status Aborted() { return absl::CancelledError("the communicator was aborted"); }

absl::Status NcclCommunicator::Attach(const std::string& handle) {
  const c10::DeviceGuard guard(device_);
  if (shares_device_) {
    // NCCL refuses two ranks on one GPU of one host: each says that it is a host of its own.
    setenv("NCCL_HOSTID", absl::StrCat("lockstep-rank-", rank_).c_str(), /*overwrite=*/1);
  }
  ncclUniqueId id;
  std::memcpy(&id, handle.data(), sizeof(id));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  {
    const absl::MutexLock lock(&mutex_);
    const ncclResult_t result = ncclCommInitRankConfig(&comm_, world_size_, id, rank_, &config);
    absl::Status status =
        FromNccl(result, "attaching to the other ranks", ncclGetLastError(nullptr));
    if (!status.ok()) return status;
  }
  if (absl::Status status = Settle("the attachment of all ranks"); !status.ok()) {
    return status;
  }
  barrier_ = at::zeros({1}, at::TensorOptions().dtype(at::kFloat).device(device_));
  return one_shot_.Connect(*this);
}

absl::StatusOr<bool> NcclCommunicator::HasSettled() {
  const absl::MutexLock lock(&mutex_);
  if (comm_ == nullptr) return Aborted();
  ncclResult_t state = ncclSuccess;
  ncclResult_t result = ncclCommGetAsyncError(comm_, &state);
  if (result == ncclSuccess) result = state;
  if (result == ncclSuccess) return true;
  if (result == ncclInProgress) return false;
  return FromNccl(result, absl::StrCat("rank ", rank_), ncclGetLastError(comm_));
}

absl::Status NcclCommunicator::Settle(const char* what) {
  return PollUntil([this] { return HasSettled(); }, timeout(), what);
}

template <typename Enqueue>
absl::Status NcclCommunicator::Run(const char* what, const Enqueue& enqueue) {
  {
    const absl::MutexLock lock(&mutex_);
    if (comm_ == nullptr) return Aborted();
    absl::Status status = FromNccl(enqueue(comm_, Stream()), what, ncclGetLastError(comm_));
    if (!status.ok()) return status;
  }
  return Settle(what);
}

absl::Status NcclCommunicator::AllReduceSum(at::Tensor& data) {
  if (one_shot_.Takes(data)) {
    absl::Status status = Check();
    if (status.ok()) one_shot_.AllReduceSum(data);
    return status;
  }
  return SumsInSlices(data, world_size_) ? SumSlices(data) : SumGathered(data);
}

absl::Status NcclCommunicator::SumGathered(at::Tensor& data) {
  const at::Tensor parts = at::empty({world_size_, data.numel()}, data.options());
  absl::Status status = Run("an all-reduce", [&](ncclComm_t comm, cudaStream_t stream) {
    return ncclAllGather(data.const_data_ptr(), parts.mutable_data_ptr(),
                         static_cast<size_t>(data.numel()), ncclFloat32, comm, stream);
  });
  if (status.ok()) cuda::SumParts(parts, data);
  return status;
}

absl::Status NcclCommunicator::SumSlices(at::Tensor& data) {
  const at::Tensor slices = data.view({world_size_, -1});
  const at::Tensor parts = at::empty_like(slices);  // of this rank's slice, by rank
  const int64_t slice = slices.size(1);
  const auto size = static_cast<size_t>(slice);
  absl::Status status = Run("an exchange of slices", [&](ncclComm_t comm, cudaStream_t stream) {
    return AsGroup(world_size_, [&](int rank) {
      const ncclResult_t sent = ncclSend(data.const_data_ptr<float>() + rank * slice, size,
                                         ncclFloat32, rank, comm, stream);
      if (!IsUnderWay(sent)) return sent;
      return ncclRecv(parts.mutable_data_ptr<float>() + rank * slice, size, ncclFloat32, rank, comm,
                      stream);
    });
  });
  if (!status.ok()) return status;
  at::Tensor own = slices.select(0, rank_);
  cuda::SumParts(parts, own);
  return Run("an all-gather of slices", [&](ncclComm_t comm, cudaStream_t stream) {
    return ncclAllGather(own.const_data_ptr(), data.mutable_data_ptr(), size, ncclFloat32, comm,
                         stream);
  });
}

absl::Status NcclCommunicator::AllGather(const at::Tensor& in, at::Tensor& out) {
  return Run("an all-gather", [&](ncclComm_t comm, cudaStream_t stream) {
    return ncclAllGather(in.const_data_ptr(), out.mutable_data_ptr(), in.nbytes(), ncclInt8, comm,
                         stream);
  });
}

absl::Status NcclCommunicator::GatherColumns(const at::Tensor& shard,
                                             std::span<const int64_t> column_offsets,
                                             at::Tensor& out) {
  const int64_t num_rows = shard.size(0);
  std::vector<at::Tensor> shards = {shard};  // on rank 0, those of all ranks
  for (int rank = 1; rank_ == 0 && rank < world_size_; ++rank) {
    const auto r = static_cast<size_t>(rank);
    shards.push_back(
        at::empty({num_rows, column_offsets[r + 1] - column_offsets[r]}, shard.options()));
  }
  absl::Status status = Run("a gather of logits", [&](ncclComm_t comm, cudaStream_t stream) {
    if (rank_ != 0) {
      return ncclSend(shard.const_data_ptr(), shard.nbytes(), ncclInt8, 0, comm, stream);
    }
    return AsGroup(world_size_, [&](int rank) {
      if (rank == 0) return ncclSuccess;
      const at::Tensor& from = shards[static_cast<size_t>(rank)];
      return ncclRecv(from.mutable_data_ptr(), from.nbytes(), ncclInt8, rank, comm, stream);
    });
  });
  if (!status.ok() || rank_ != 0) return status;
  for (size_t r = 0; r < shards.size(); ++r) {
    out.narrow(1, column_offsets[r], shards[r].size(1)).copy_(shards[r]);
  }
  return absl::OkStatus();
}

absl::Status NcclCommunicator::Broadcast(at::Tensor& data) {
  return Run("a broadcast", [&](ncclComm_t comm, cudaStream_t stream) {
    return ncclBroadcast(data.const_data_ptr(), data.mutable_data_ptr(), data.nbytes(), ncclInt8,
                         /*root=*/0, comm, stream);
  });
}

absl::Status NcclCommunicator::Barrier() {
  absl::Status status = AllReduceSum(barrier_);
  return status.ok() ? Wait() : status;
}

void NcclCommunicator::Abort() {
  const absl::MutexLock lock(&mutex_);
  if (comm_ == nullptr) return;
  one_shot_.Abort();
  // Ends kernels that wait for a peer, then waits until the graphs that use the communicator are
  // gone, which may be as late as the destructor, and frees it. The result says nothing of use.
  aborting_ = std::thread([comm = std::exchange(comm_, nullptr)] { (void)ncclCommAbort(comm); });
}

NcclCommunicator::~NcclCommunicator() {
  Abort();
  const absl::MutexLock lock(&mutex_);
  if (aborting_.joinable()) aborting_.join();
}

}  // namespace

absl::StatusOr<std::string> MakeNcclHandle() {
  ncclUniqueId id;
  const ncclResult_t result = ncclGetUniqueId(&id);
  absl::Status status = FromNccl(result, "making NCCL's unique id", ncclGetLastError(nullptr));
  if (!status.ok()) return status;
  return std::string(id.internal, sizeof(id.internal));
}

absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(
    const CommunicatorOptions& options) {
  if (options.handle.size() != sizeof(ncclUniqueId)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the communicator's handle has ", options.handle.size(), " bytes instead of ",
                     sizeof(ncclUniqueId), ": it has to be what rank 0 reported as loaded"));
  }
  auto communicator = std::make_unique<NcclCommunicator>(options);
  if (absl::Status status = communicator->Attach(options.handle); !status.ok()) return status;
  return communicator;
}

}  // namespace lockstep::worker
