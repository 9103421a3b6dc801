// Products of a warpgroup, four warps, on the matrix units (wgmma.mma_async, sm_90a): each warp has
// 16 of 64 rows of sums. The left side is in registers or in shared memory, the right side in
// shared memory. Fragments are those of matrix_units.cuh, for each warp by itself.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_WARPGROUP_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_WARPGROUP_CUH_

#include <type_traits>

#include "worker/kernels/cuda/matrix_units.cuh"

namespace lockstep::worker::cuda {

// [64, kColumns] elements of 2 bytes as the matrix units read them without conflicts of banks (PTX
// ISA, "128-byte swizzling"): 64 columns are 128 bytes, of which the 16-byte pieces of row r are in
// the order piece ^ r % 8.
template <typename T, int kColumns>
struct alignas(1024) SwizzledTile {
  static constexpr int kRows = 64;
  static constexpr int kPartColumns = 64;
  T parts[kColumns / kPartColumns][kRows][kPartColumns];

  // Columns 8 · piece to 8 · piece + 7 of a row.
  __device__ T* Piece(int row, int piece) {
    return &parts[piece / 8][row][((piece ^ row) % 8) * 8];
  }
};

#ifdef __CUDACC__

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define LOCKSTEP_HAS_WARPGROUPS 1
#endif

// To be called between writing to a tile and the barrier behind which it is multiplied.
__device__ inline void ShowToMatrixUnits() {
#ifdef LOCKSTEP_HAS_WARPGROUPS
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Keeps the compiler from using sums before they are there.
template <int kGroups>
__device__ inline void HoldSums(float (&c)[kGroups][4]) {
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    asm volatile("" : "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])::"memory");
  }
}

// Around products into `c`; FinishProducts returns when they are done.
template <int kGroups>
__device__ inline void BeginProducts(float (&c)[kGroups][4]) {
#ifdef LOCKSTEP_HAS_WARPGROUPS
  HoldSums(c);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
template <int kGroups>
__device__ inline void FinishProducts(float (&c)[kGroups][4]) {
#ifdef LOCKSTEP_HAS_WARPGROUPS
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  HoldSums(c);
#endif
}

// A matrix descriptor: swizzling over 128 bytes, groups of 8 rows 1024 bytes apart. The other
// stride, between parts of 64 columns, is not used by products of 64 columns.
template <typename T, int kColumns>
__device__ inline uint64_t Describe(const SwizzledTile<T, kColumns>& tile, int part, int byte) {
  constexpr uint64_t kSwizzle128 = 1;
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(&tile.parts[part])) +
                       static_cast<uint32_t>(byte);
  return uint64_t{(address & 0x3FFFFU) >> 4} | uint64_t{512} << 16 | uint64_t{1024 >> 4} << 32 |
         kSwizzle128 << 62;
}

#define LOCKSTEP_WGMMA(type, left, left_value, options)                                           \
  asm volatile(                                                                                   \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                 \
      " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,"  \
      "%24,%25,%26,%27,%28,%29,%30,%31}, " left ", %32, 1, 1, 1, " options ";"                    \
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]), \
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), \
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]), \
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), \
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), \
        "+f"(c[7][2]), "+f"(c[7][3])                                                              \
      : "l"(right), left_value)
#define LOCKSTEP_LEFT_REGISTERS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])

// c [64, 64] += a [64, 16] · (b [64, 16])ᵀ
template <typename T>
__device__ inline void MultiplyTransposed(float (*c)[4], uint64_t left, uint64_t right) {
#ifdef LOCKSTEP_HAS_WARPGROUPS
  if constexpr (std::is_same_v<T, c10::Half>) {
    LOCKSTEP_WGMMA("f16", "%33", "l"(left), "0, 0");
  } else {
    LOCKSTEP_WGMMA("bf16", "%33", "l"(left), "0, 0");
  }
#endif
}

// c [64, 64] += a [64, 16] · b [16, 64], of which the descriptor is of rows.
template <typename T>
__device__ inline void MultiplyFragments(float (*c)[4], const uint32_t (&a)[4], uint64_t right) {
#ifdef LOCKSTEP_HAS_WARPGROUPS
  if constexpr (std::is_same_v<T, c10::Half>) {
    LOCKSTEP_WGMMA("f16", "{%33,%34,%35,%36}", LOCKSTEP_LEFT_REGISTERS, "1");
  } else {
    LOCKSTEP_WGMMA("bf16", "{%33,%34,%35,%36}", LOCKSTEP_LEFT_REGISTERS, "1");
  }
#endif
}

#undef LOCKSTEP_WGMMA
#undef LOCKSTEP_LEFT_REGISTERS

// c [64 rows of a, 64 rows of b] += a · bᵀ, of columns 16 · step to 16 · step + 15
template <typename T, int kColumns>
__device__ inline void MultiplyRows(float (*c)[4], const SwizzledTile<T, kColumns>& a,
                                    const SwizzledTile<T, kColumns>& b, int step) {
  const int byte = step % 4 * 32;
  MultiplyTransposed<T>(c, Describe(a, step / 4, byte), Describe(b, step / 4, byte));
}

// c [64 rows, 64 columns of a part] += a · rows 16 · step to 16 · step + 15 of the part
template <typename T, int kColumns>
__device__ inline void MultiplyColumns(float (*c)[4], const uint32_t (&a)[4],
                                       const SwizzledTile<T, kColumns>& tile, int part, int step) {
  MultiplyFragments<T>(c, a, Describe(tile, part, step * 16 * 128));
}

#endif

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_WARPGROUP_CUH_
