// What the CUDA kernels are written in: CUDA C++ where nvcc compiles them, and where a host
// compiler does, the same names from an emulation (tests/testing/cuda_emulation), which is included
// before this.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_DEVICE_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_DEVICE_CUH_

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>

#include "worker/kernels/cuda/launchers.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>

namespace lockstep::worker::cuda {

// Starts the kernel. Errors show in cudaGetLastError, which the callers of the launchers ask.
template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, Stream stream,
            const Arguments&... arguments) {
  kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
}

// Whether kernels may begin before the one before them has ended: on a GPU that can, and with code
// in which AwaitEarlierKernels waits, which that for older GPUs does not. All kernels are compiled
// for the same GPUs, so that any one of them can tell.
inline bool CanOverlap(const void* kernel) {
  static const bool can_overlap = [&] {
    cudaFuncAttributes attributes = {};
    return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess &&
           attributes.ptxVersion >= 90 && attributes.binaryVersion >= 90;
  }();
  return can_overlap;
}

// The same for a kernel that calls AwaitEarlierKernels: its blocks may begin while the kernel
// before it in the stream ends, which hides what starting takes (programmatic dependent launch,
// CUDA C++ Programming Guide).
//
// kShared is the size of its dynamic shared memory, see DynamicShared.
template <int kShared = 0, typename... Parameters, typename... Arguments>
void LaunchOverlapping(void (*kernel)(Parameters...), dim3 grid, dim3 block, Stream stream,
                       const Arguments&... arguments) {
  if (kShared > 0) {
    cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                         cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  }
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = kShared;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = CanOverlap(reinterpret_cast<const void*>(kernel)) ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

// Whether the kernel, which uses shared memory, has code for this GPU.
template <typename... Parameters>
bool HasBody(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes = {};
  return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)) == cudaSuccess &&
         attributes.sharedSizeBytes > 0;
}

// Shared memory beyond what a kernel may declare, 1024-byte aligned; kDynamicBytes<T> of it.
inline constexpr int kDynamicAlignment = 1024;
template <typename T>
inline constexpr int kDynamicBytes = static_cast<int>(sizeof(T)) + kDynamicAlignment;
template <typename T>
__device__ inline T& DynamicShared() {
  extern __shared__ char bytes[];
  const auto address = reinterpret_cast<uintptr_t>(bytes);
  return *reinterpret_cast<T*>((address + kDynamicAlignment - 1) / kDynamicAlignment *
                               kDynamicAlignment);
}

// 2 to the power of x, to two units in the last place; 0 where that is not a normal number.
__device__ inline float Exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// What is read once and need not stay in the first-level cache; 16 bytes.
template <typename T>
__device__ inline T LoadOnce(const T* address) {
  static_assert(sizeof(T) == sizeof(int4));
  const int4 bits = __ldcs(reinterpret_cast<const int4*>(address));
  T value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// To be called by every thread before it reads or writes what other kernels write or read. Lets the
// next kernel begin too, and returns when the earlier ones have ended.
__device__ inline void AwaitEarlierKernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace lockstep::worker::cuda
#endif

namespace lockstep::worker::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullWarp = 0xFFFFFFFFU;

// Elements that move in one access of up to 16 bytes; a pointer to it must be so aligned.
template <typename T, int kSize>
struct alignas(sizeof(T) * kSize <= 16 ? sizeof(T) * kSize : 16) Pack {
  T elements[kSize];
};

// Whether a Pack may be read and written there.
inline bool IsAligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

template <typename T>
__device__ inline float ToFloat(T value) {
  return static_cast<float>(value);
}

__device__ inline float WarpSum(float value) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, offset);
  }
  return value;
}

__device__ inline float WarpMax(float value) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

// Calls `function` with an element of the type that `type` names.
template <typename Function>
void DispatchElement(Element type, const Function& function) {
  switch (type) {
    case Element::kFloat32:
      return function(float());
    case Element::kFloat16:
      return function(c10::Half());
    case Element::kBFloat16:
      return function(c10::BFloat16());
  }
}

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_DEVICE_CUH_
