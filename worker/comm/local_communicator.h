#ifndef LOCKSTEP_WORKER_COMM_LOCAL_COMMUNICATOR_H_
#define LOCKSTEP_WORKER_COMM_LOCAL_COMMUNICATOR_H_

#include <atomic>

#include "worker/comm/communicator.h"

namespace lockstep::worker {

// The communicator of a single rank, on any device. It has no peers to wait for.
class LocalCommunicator : public Communicator {
 public:
  LocalCommunicator(ComputeDevice& device, absl::Duration timeout)
      : Communicator(device, timeout) {}

  int rank() const override { return 0; }
  int world_size() const override { return 1; }
  absl::Status AllReduceSum(at::Tensor& data) override;
  absl::Status AllGather(const at::Tensor& in, at::Tensor& out) override;
  absl::Status GatherColumns(const at::Tensor& shard, std::span<const int64_t> column_offsets,
                             at::Tensor& out) override;
  absl::Status Broadcast(at::Tensor& data) override;
  absl::Status Barrier() override;
  absl::Status Check() override;
  void Abort() override;

 private:
  std::atomic<bool> aborted_{false};
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_LOCAL_COMMUNICATOR_H_
