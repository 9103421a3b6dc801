#include "worker/comm/peer_buffers.h"

#include <c10/core/DeviceGuard.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/kernels/cuda/stream.h"

namespace lockstep::worker {
namespace {

static_assert(std::is_trivially_copyable_v<PeerAddress>);

// An error that has been looked at does not show in the next launch.
absl::Status FromCuda(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return absl::OkStatus();
  (void)cudaGetLastError();
  return absl::InternalError(absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

// The same for all processes of a running machine, containers included.
std::string BootId() {
  std::string id;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
  return id;
}

}  // namespace

PeerBuffers::PeerBuffers(int rank, int world_size, int64_t slot_size, at::Device device)
    : rank_(rank), world_size_(world_size), slot_size_(slot_size), device_(device) {}

absl::StatusOr<std::unique_ptr<PeerBuffers>> PeerBuffers::Allocate(int rank, int world_size,
                                                                   int64_t slot_size,
                                                                   at::Device device) {
  auto buffers = std::unique_ptr<PeerBuffers>(new PeerBuffers(rank, world_size, slot_size, device));
  if (absl::Status status = buffers->Allocate(); !status.ok()) return status;
  return buffers;
}

absl::Status PeerBuffers::Allocate() {
  const c10::DeviceGuard guard(device_);
  void* host = nullptr;
  cudaError_t error = cudaHostAlloc(&host, sizeof(uint32_t), cudaHostAllocMapped);
  if (error != cudaSuccess) return FromCuda(error, "page-locked memory");
  is_aborted_ = new (host) uint32_t(0);
  void* on_device = nullptr;
  error = cudaHostGetDevicePointer(&on_device, host, /*flags=*/0);
  if (error != cudaSuccess) return FromCuda(error, "page-locked memory on the GPU");
  is_aborted_on_device_ = static_cast<uint32_t*>(on_device);
  // Not LibTorch's memory, of which a handle would open a whole block.
  void*& own = memory_[static_cast<size_t>(rank_)];
  error = cudaMalloc(&own, num_bytes());
  if (error == cudaSuccess) error = cudaMemset(own, 0, num_bytes());
  if (error == cudaSuccess) error = cudaStreamSynchronize(nullptr);
  if (error == cudaSuccess) error = cudaIpcGetMemHandle(&address_.handle, own);
  if (error == cudaSuccess) {
    error = cudaDeviceGetPCIBusId(address_.gpu, sizeof(address_.gpu), device_.index());
  }
  if (error != cudaSuccess) return FromCuda(error, "memory for other ranks");
  const std::string machine = BootId();
  machine.copy(address_.machine, sizeof(address_.machine) - 1);
  return absl::OkStatus();
}

PeerBuffers::~PeerBuffers() {
  const c10::DeviceGuard guard(device_);
  if (is_aborted_ != nullptr) Abort();
  (void)cudaDeviceSynchronize();
  Close();
  (void)cudaFree(memory_[static_cast<size_t>(rank_)]);
  (void)cudaFreeHost(is_aborted_);
}

absl::Status PeerBuffers::Open(std::span<const PeerAddress> addresses) {
  const c10::DeviceGuard guard(device_);
  for (int rank = 0; rank < world_size_; ++rank) {
    if (rank == rank_) continue;
    absl::Status status = OpenPeer(rank, addresses[static_cast<size_t>(rank)]);
    if (!status.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the GPU memory of rank ", rank, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status PeerBuffers::OpenPeer(int rank, const PeerAddress& address) {
  if (address.machine[0] == '\0') return absl::NotFoundError("it has none to share");
  if (std::strcmp(address.machine, address_.machine) != 0) {
    return absl::NotFoundError("it is on another machine");
  }
  // A GPU that this process does not see is left to the attempt to open the memory.
  int gpu = 0;
  const bool is_seen = FromCuda(cudaDeviceGetByPCIBusId(&gpu, address.gpu), address.gpu).ok();
  if (is_seen && gpu != device_.index()) {
    int can_access = 0;
    const cudaError_t error = cudaDeviceCanAccessPeer(&can_access, device_.index(), gpu);
    if (error != cudaSuccess) return FromCuda(error, "peer access");
    if (can_access == 0) return absl::NotFoundError("the GPUs have no connection of their own");
  }
  return FromCuda(cudaIpcOpenMemHandle(&memory_[static_cast<size_t>(rank)], address.handle,
                                       cudaIpcMemLazyEnablePeerAccess),
                  "cudaIpcOpenMemHandle");
}

void PeerBuffers::Close() {
  const c10::DeviceGuard guard(device_);
  for (int rank = 0; rank < world_size_; ++rank) {
    void*& memory = memory_[static_cast<size_t>(rank)];
    if (rank == rank_ || memory == nullptr) continue;
    (void)cudaIpcCloseMemHandle(std::exchange(memory, nullptr));
  }
}

void PeerBuffers::AllReduceSum(at::Tensor& data) const {
  void* own = memory_[static_cast<size_t>(rank_)];
  cuda::PeerAllReduceArguments arguments = {.data = data.mutable_data_ptr<float>(),
                                            .size = data.numel(),
                                            .rank = rank_,
                                            .world_size = world_size_,
                                            .slots = {},
                                            .flags = {},
                                            .slot_size = slot_size_,
                                            .epochs = Epochs(own),
                                            .is_aborted = is_aborted_on_device_};
  for (size_t rank = 0; rank < static_cast<size_t>(world_size_); ++rank) {
    arguments.slots[rank] = static_cast<float*>(memory_[rank]);
    arguments.flags[rank] = Flags(memory_[rank]);
  }
  cuda::LaunchPeerAllReduce(arguments, cuda::CurrentStream(device_));
  cuda::CheckLaunch("AllReduceSum");
}

void PeerBuffers::Abort() {
  std::atomic_ref<uint32_t>(*is_aborted_).store(1, std::memory_order_release);
}

uint32_t* PeerBuffers::Flags(void* memory) const {
  return reinterpret_cast<uint32_t*>(static_cast<float*>(memory) + 2 * world_size_ * slot_size_);
}

uint32_t* PeerBuffers::Epochs(void* memory) const {
  return Flags(memory) + world_size_ * cuda::kNumPeerBlocks;
}

size_t PeerBuffers::num_bytes() const {
  const int64_t num_words =
      2 * world_size_ * slot_size_ + (world_size_ + 1) * int64_t{cuda::kNumPeerBlocks};
  return static_cast<size_t>(num_words) * sizeof(uint32_t);
}

}  // namespace lockstep::worker
