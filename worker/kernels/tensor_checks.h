#ifndef LOCKSTEP_WORKER_KERNELS_TENSOR_CHECKS_H_
#define LOCKSTEP_WORKER_KERNELS_TENSOR_CHECKS_H_

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <initializer_list>

#include "worker/kernels/kv_cache_layout.h"

namespace lockstep::worker {

// The checks that the ops share. Each throws c10::Error naming `op` and `name` when it does not
// hold.

inline void CheckCpuOrCuda(const at::Tensor& tensor, const char* op, const char* name) {
  TORCH_CHECK(tensor.defined() && (tensor.is_cpu() || tensor.is_cuda()), op, ": ", name,
              " is neither on the CPU nor on an NVIDIA GPU");
}

inline void CheckDevices(const char* op, at::Device device,
                         std::initializer_list<const at::Tensor*> tensors) {
  for (const at::Tensor* tensor : tensors) {
    TORCH_CHECK(tensor->device() == device, op, ": a tensor is on ", tensor->device(),
                ", expected ", device, " as the result");
  }
}

inline void CheckFloating(at::ScalarType dtype, const char* op, const char* name) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16, op, ": ", name,
              " is ", dtype, ", expected float32, float16 or bfloat16");
}

// [rows, columns] with dense rows.
inline void CheckRows(const at::Tensor& tensor, int64_t rows, int64_t columns, const char* op,
                      const char* name) {
  CheckCpuOrCuda(tensor, op, name);
  TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns, op, ": ",
              name, " has shape ", tensor.sizes(), ", expected [", rows, ", ", columns, "]");
  TORCH_CHECK(tensor.size(1) <= 1 || tensor.stride(1) == 1, op, ": ", name, " has stride ",
              tensor.stride(1), " in its last dimension, expected 1");
}

// [size], contiguous.
inline void CheckVector(const at::Tensor& tensor, int64_t size, at::ScalarType dtype,
                        const char* op, const char* name) {
  CheckCpuOrCuda(tensor, op, name);
  TORCH_CHECK(tensor.dim() == 1 && tensor.size(0) == size && tensor.is_contiguous(), op, ": ", name,
              " has shape ", tensor.sizes(), ", expected a contiguous [", size, "]");
  TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name, " is ", tensor.scalar_type(),
              ", expected ", dtype);
}

inline void CheckDtype(const at::Tensor& tensor, at::ScalarType dtype, const char* op,
                       const char* name) {
  TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name, " is ", tensor.scalar_type(),
              ", expected ", dtype);
}

inline void CheckDtypeOrFloat(const at::Tensor& tensor, at::ScalarType dtype, const char* op,
                              const char* name) {
  TORCH_CHECK(tensor.scalar_type() == dtype || tensor.scalar_type() == at::kFloat, op, ": ", name,
              " is ", tensor.scalar_type(), ", expected ", dtype, " or float32");
}

// Both tensors contiguous and of the shapes of GetKvCacheShapes.
inline void CheckKvCache(const KvCacheView& cache, const char* op) {
  CheckCpuOrCuda(cache.key, op, "the key cache");
  CheckCpuOrCuda(cache.value, op, "the value cache");
  TORCH_CHECK(cache.value.dim() == 4 && cache.key.is_contiguous() && cache.value.is_contiguous(),
              op, ": the cache is not made of contiguous tensors of 4 dimensions");
  const KvCacheShapes shapes =
      GetKvCacheShapes(cache.value.device(), cache.value.size(0), cache.value.size(1),
                       cache.value.size(2), cache.value.size(3));
  TORCH_CHECK(cache.key.sizes() == at::IntArrayRef(shapes.key), op, ": the key cache has shape ",
              cache.key.sizes(), ", expected ", at::IntArrayRef(shapes.key));
  CheckFloating(cache.key.scalar_type(), op, "the key cache");
  CheckDtype(cache.value, cache.key.scalar_type(), op, "the value cache");
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_TENSOR_CHECKS_H_
