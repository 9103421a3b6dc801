#ifndef LOCKSTEP_WORKER_COMM_PEER_BUFFERS_H_
#define LOCKSTEP_WORKER_COMM_PEER_BUFFERS_H_

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/kernels/cuda/launchers.h"

namespace lockstep::worker {

// Where a rank's memory is, for the other ranks; sent to them as bytes.
struct PeerAddress {
  char machine[64] = {};  // its boot id; empty: there is no memory to open
  char gpu[32] = {};      // its PCI bus id
  cudaIpcMemHandle_t handle = {};
};

// The GPU memory of one rank that the others write to in all-reduces (peer_all_reduce.cu), and
// theirs, opened by CUDA IPC. Ranks that share a GPU open each other's too.
//
// Abort may be called from any thread, everything else from one at a time.
class PeerBuffers {
 public:
  // slot_size: of each message, in floats, a multiple of 4. INTERNAL where CUDA refuses.
  static absl::StatusOr<std::unique_ptr<PeerBuffers>> Allocate(int rank, int world_size,
                                                               int64_t slot_size,
                                                               at::Device device);
  // What this rank has enqueued is done then, waits for peers having been given up. Peers that
  // still write here no longer can; as all ranks end together, that is of no account.
  ~PeerBuffers();
  PeerBuffers(const PeerBuffers&) = delete;
  PeerBuffers& operator=(const PeerBuffers&) = delete;

  const PeerAddress& address() const { return address_; }
  // FAILED_PRECONDITION where a rank's memory cannot be reached.
  //
  //   addresses  [world_size], of all ranks in their order
  absl::Status Open(std::span<const PeerAddress> addresses);
  // Lets go of the other ranks' memory, which only then may be freed.
  void Close();

  // Enqueues the sum on the current stream, once Open was successful.
  //
  //   data  [at most slot_size] float32, contiguous
  void AllReduceSum(at::Tensor& data) const;

  // Kernels that wait for other ranks end soon, now and later.
  void Abort();

 private:
  PeerBuffers(int rank, int world_size, int64_t slot_size, at::Device device);
  absl::Status Allocate();
  absl::Status OpenPeer(int rank, const PeerAddress& address);
  // Where a rank's flags and counters of launches are in its memory.
  uint32_t* Flags(void* memory) const;
  uint32_t* Epochs(void* memory) const;
  size_t num_bytes() const;

  const int rank_;
  const int world_size_;
  const int64_t slot_size_;
  const at::Device device_;
  PeerAddress address_;
  std::array<void*, cuda::kMaxPeers> memory_ = {};  // of each rank; null: not there or not open
  uint32_t* is_aborted_ = nullptr;                  // in the host's memory, which the GPU reads
  uint32_t* is_aborted_on_device_ = nullptr;        // the same for kernels
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_PEER_BUFFERS_H_
