// What the CUDA kernels are written in: CUDA C++ where nvcc compiles them, and where a host
// compiler does, the same names from an emulation (tests/testing/cuda_emulation), which is included
// before this.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_DEVICE_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_DEVICE_CUH_

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <type_traits>

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

// The same for a kernel that calls LetNextKernelBegin and AwaitEarlierKernels: its blocks may begin
// while the kernel before it in the stream ends, which hides what starting takes (programmatic
// dependent launch, CUDA C++ Programming Guide). Of such a kernel
//   1. every thread calls AwaitEarlierKernels before it ends, and
//   2. before that it writes nothing outside its block, and reads only what no kernel writes that
//      may still run: its arguments, weights, and the lengths and block tables that the step's copy
//      brought.
// When the call returns, the kernel before has ended; by (1) it had waited for the one before it,
// and so on down to a kernel that was launched without overlap, which began when all before it had
// ended. Several kernels may run at once, each begun early behind one that waits itself, but only
// one of them is past its call. So nothing is read too early, and nothing is overwritten that an
// earlier kernel may still read, wherever LetNextKernelBegin stands: it is called first of all, so
// that the next kernel's start and its loads of weights hide behind all that this one does. Blocks
// that begin early take no place from those they wait for: all of these have begun.
//
// By (2), what writes weights has to be a copy, or to have a copy or a launch without overlap
// behind it: a step has both in front, its inputs and the embedding.
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

// Has the cache line of `address` on its way to the second-level cache. What a kernel that still
// runs writes there is seen: that cache is where all writes go.
__device__ inline void Prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(address)));
}

// Lets the blocks of the next kernel begin when all of this one have come here or ended.
__device__ inline void LetNextKernelBegin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Returns when the earlier kernels have ended and what they wrote is there.
__device__ inline void AwaitEarlierKernels() {
#if __CUDA_ARCH__ >= 900
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

// The bits of a T, such as a Pack, as aligned as it is. What is loaded as bits is not converted,
// and so not waited for, before FromBits.
template <typename T>
using Bits = std::conditional_t<sizeof(T) % sizeof(uint32_t) == 0,
                                Pack<uint32_t, static_cast<int>(sizeof(T) / sizeof(uint32_t))>,
                                Pack<uint16_t, static_cast<int>(sizeof(T) / sizeof(uint16_t))>>;
template <typename T>
__device__ inline T FromBits(Bits<T> bits) {
  T value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

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
