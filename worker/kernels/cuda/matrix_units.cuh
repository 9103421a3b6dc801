// One warp's products on the matrix units (mma.sync, sm_80 and later), for float16 and bfloat16.
//
// Fragments as PTX has them, with g = lane / 4 and t = lane % 4; each register holds two
// neighbouring elements:
//   A [16, 16] row-major   registers 0..3: rows g, g + 8, g, g + 8; columns 2t, 2t, 2t + 8, 2t + 8
//   B [16, 8]              registers 0..1: rows 2t, 2t + 8; column g
//   C [16, 8] float        elements 0..3: rows g, g, g + 8, g + 8; columns 2t, 2t + 1, 2t, 2t + 1
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_MATRIX_UNITS_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_MATRIX_UNITS_CUH_

#include <cstring>
#include <type_traits>

#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {

#ifdef __CUDACC__

template <typename T>
__device__ inline uint32_t PackPair(float low, float high) {
  uint32_t bits;
  if constexpr (std::is_same_v<T, c10::Half>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  }
  return bits;
}

// c += a · b
template <typename T>
__device__ inline void MultiplyAccumulate(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                          uint32_t b1) {
  if constexpr (std::is_same_v<T, c10::Half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Four 8 × 8 matrices of 2-byte elements from shared memory: lanes 8i to 8i + 7 give the addresses
// of matrix i's rows, 16-byte aligned. Register i holds elements (g, 2t) and (g, 2t + 1) of matrix
// i.
__device__ inline void LoadMatrices(uint32_t (&registers)[4], const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
}

// The same of the transposed matrices: register i holds elements (2t, g) and (2t + 1, g).
__device__ inline void LoadMatricesTransposed(uint32_t (&registers)[4], const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
}

// The 8 × 8 matrix whose row g has its elements 2t and 2t + 1 in lane 4g + t, transposed.
__device__ inline uint32_t TransposeMatrix(uint32_t pair) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

// Begins a copy of 16 bytes to shared memory; without `is_wanted` they become zero, and `from` is
// not read.
__device__ inline void CopyAsync(void* to, const void* from, bool is_wanted) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const int size = is_wanted ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(__cvta_generic_to_global(from)), "r"(size)
               : "memory");
}

// Ends a group of this thread's copies.
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Returns when all but the last `kPending` groups of this thread's copies have arrived.
template <int kPending>
__device__ inline void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

#endif

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_MATRIX_UNITS_CUH_
