// A sum over ranks in one kernel: every rank writes its part into the memory of all others, says
// so, and adds what the others wrote into its own. One trip between GPUs, where a gather by NCCL
// and an addition take several and two kernels.
//
// Two halves of the slots, used in turn, suffice. A rank writes half e % 2 of a peer in its launch
// e, after AwaitEarlierKernels. Its launch e - 1 has then ended, for which that peer had to be past
// that point in its own launch e - 1, and so to have ended launch e - 2, the last that reads what
// is overwritten. The flags need no halves: by the same argument a peer is at most one launch
// ahead, and a later number serves a wait as well.
#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {

#ifdef __CUDACC__

// What this block wrote before is seen by whoever reads `value` with LoadAcquire, on any GPU: the
// barrier before it makes it stand for all threads of the block.
__device__ inline void StoreRelease(uint32_t* address, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" : : "l"(address), "r"(value) : "memory");
}

__device__ inline uint32_t LoadAcquire(uint32_t* address) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

#endif

namespace {

constexpr int kThreads = 256;
constexpr int kPackSize = 4;
// How often a wait looks into the host's memory, which is much further away than the GPU's.
constexpr uint32_t kSpinsPerLook = 1024;

// Elements [begin, end); those before packs_end move in packs.
struct Range {
  int64_t begin;
  int64_t packs_end;
  int64_t end;
};

// This block's part. Where it begins depends on the size alone and not on the data's alignment,
// because all ranks' blocks of one number have to have the same part.
__device__ Range PartOfBlock(const PeerAllReduceArguments& a) {
  constexpr int64_t kPacksPerGrid = int64_t{kNumPeerBlocks} * kPackSize;
  const int64_t part = (a.size + kPacksPerGrid - 1) / kPacksPerGrid * kPackSize;
  const int64_t begin = min(static_cast<int64_t>(blockIdx.x) * part, a.size);
  const int64_t end = min(begin + part, a.size);
  const bool is_aligned = reinterpret_cast<uintptr_t>(a.data) % (sizeof(float) * kPackSize) == 0;
  return {begin, is_aligned ? end - (end - begin) % kPackSize : begin, end};
}

// Where `from` leaves its part for `to`.
__device__ float* Slot(const PeerAllReduceArguments& a, int to, int from, uint32_t epoch) {
  const int64_t slot = static_cast<int64_t>(epoch % 2) * a.world_size + from;
  return a.slots[to] + slot * a.slot_size;
}

// Every rank begins with the next one, so that not all write to the same at once.
template <int kSize>
__device__ void Push(const PeerAllReduceArguments& a, uint32_t epoch, int64_t begin, int64_t end) {
  using Elements = Pack<float, kSize>;
  for (int64_t i = begin + static_cast<int>(threadIdx.x) * kSize; i < end; i += kThreads * kSize) {
    const Elements own = *reinterpret_cast<const Elements*>(a.data + i);
    for (int offset = 1; offset < a.world_size; ++offset) {
      const int peer = (a.rank + offset) % a.world_size;
      *reinterpret_cast<Elements*>(Slot(a, peer, a.rank, epoch) + i) = own;
    }
  }
}

// All parts are under way before the first is added; the bits do not depend on the grid.
template <int kSize>
__device__ void Sum(const PeerAllReduceArguments& a, uint32_t epoch, int64_t begin, int64_t end) {
  using Elements = Pack<float, kSize>;
  for (int64_t i = begin + static_cast<int>(threadIdx.x) * kSize; i < end; i += kThreads * kSize) {
    Elements parts[kMaxPeers] = {};
    for (int rank = 0; rank < kMaxPeers; ++rank) {
      if (rank >= a.world_size) continue;
      const float* part = rank == a.rank ? a.data : Slot(a, a.rank, rank, epoch);
      parts[rank] = *reinterpret_cast<const Elements*>(part + i);
    }
    Elements sum = parts[0];
    for (int rank = 1; rank < kMaxPeers; ++rank) {
      if (rank >= a.world_size) continue;
      for (int j = 0; j < kSize; ++j) sum.elements[j] += parts[rank].elements[j];
    }
    *reinterpret_cast<Elements*>(a.data + i) = sum;
  }
}

// Returns when `flag` has come to `epoch`, or after an abort. Numbers wrap, so that their
// difference is looked at.
__device__ void Await(uint32_t* flag, uint32_t epoch, uint32_t* is_aborted) {
  for (uint32_t spin = 1; static_cast<int32_t>(LoadAcquire(flag) - epoch) < 0; ++spin) {
    if (spin % kSpinsPerLook == 0 && LoadAcquire(is_aborted) != 0) return;
  }
}

__global__ void __launch_bounds__(kThreads) PeerAllReduceKernel(PeerAllReduceArguments a) {
  LetNextKernelBegin();
  AwaitEarlierKernels();
  const auto block = static_cast<int>(blockIdx.x);
  const auto thread = static_cast<int>(threadIdx.x);
  // Counted here and not by the host, so that a recorded launch may be replayed.
  const uint32_t epoch = a.epochs[block] + 1;
  const Range range = PartOfBlock(a);
  Push<kPackSize>(a, epoch, range.begin, range.packs_end);
  Push<1>(a, epoch, range.packs_end, range.end);
  __syncthreads();
  if (thread == 0) a.epochs[block] = epoch;
  if (thread < a.world_size && thread != a.rank) {
    StoreRelease(a.flags[thread] + a.rank * kNumPeerBlocks + block, epoch);
    Await(a.flags[a.rank] + thread * kNumPeerBlocks + block, epoch, a.is_aborted);
  }
  __syncthreads();
  Sum<kPackSize>(a, epoch, range.begin, range.packs_end);
  Sum<1>(a, epoch, range.packs_end, range.end);
}

}  // namespace

void LaunchPeerAllReduce(const PeerAllReduceArguments& a, Stream stream) {
  LaunchOverlapping(&PeerAllReduceKernel, dim3(kNumPeerBlocks), dim3(kThreads), stream, a);
}

}  // namespace lockstep::worker::cuda
