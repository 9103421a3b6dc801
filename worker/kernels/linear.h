#ifndef LOCKSTEP_WORKER_KERNELS_LINEAR_H_
#define LOCKSTEP_WORKER_KERNELS_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "worker/kernels/kernel_context.h"

namespace lockstep::worker {

// A weight matrix [out_features, in_features] in the layout that the device's kernels read fastest.
// On the CPU that is panels of 32 output features (see cpu/packed_layout.h), on the GPU rows, for
// LibTorch. A handle: copies share
// the packed memory, so that a tied embedding and head are one matrix.
//
// Created zero-filled, then filled once with PackRows, then only read.
class LinearWeight {
 public:
  LinearWeight() = default;  // undefined: no features; every use but assignment throws

  // `dtype`: float32, float16 or bfloat16. On the CPU, memory is padded to 32 output features (and
  // 32 input features for bfloat16). Throws c10::Error for another dtype or device.
  static LinearWeight Create(int64_t out_features, int64_t in_features, at::ScalarType dtype,
                             at::Device device);

  // Copies rows [first_row, first_row + num_rows) from host memory (a mapped checkpoint file),
  // converting `src_dtype` (float32, float16 or bfloat16; need not be aligned) to dtype() with
  // round-to-nearest-even. Row r of the source starts at element r * src_row_stride of `src` and
  // its first in_features elements are taken: a column slice is a pointer to its first column and
  // the full matrix's stride. Rows packed at increasing offsets fuse matrices (q, k, v). Calls for
  // disjoint rows may run concurrently. Throws c10::Error when the rows are out of range.
  void PackRows(int64_t first_row, int64_t num_rows, const void* src, at::ScalarType src_dtype,
                int64_t src_row_stride);

  bool defined() const { return packed_.defined(); }
  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }
  at::ScalarType dtype() const { return packed_.scalar_type(); }
  at::Device device() const { return packed_.device(); }
  // Bytes of device memory held, padding included.
  int64_t num_bytes() const { return static_cast<int64_t>(packed_.nbytes()); }
  // The packed elements, in the device's layout.
  const at::Tensor& packed() const { return packed_; }

 private:
  at::Tensor packed_;
  int64_t out_features_ = 0;
  int64_t in_features_ = 0;
};

// out = x · weightᵀ + bias, accumulated in float32.
//
//   x     [num_tokens, in_features], of the weight's dtype; the rows may be strided, the last
//         dimension is dense
//   bias  [out_features], of the weight's dtype or float32, or absent
//   out   [num_tokens, out_features], of the weight's dtype or float32, strided like x; does not
//         overlap x
//
// Batch invariance: a row's result depends on that row and on the weight, and on nothing else: not
// on num_tokens, the other rows or the number of threads. Partial products are added in the order
// of the input features. On the GPU the library chooses the kernel by num_tokens, so that bits may
// depend on it. Throws c10::Error when shapes, dtypes or devices do not fit.
void Linear(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
            const std::optional<at::Tensor>& bias, at::Tensor& out);

// out += x · weightᵀ + bias, rounded once: as Linear, with a dense float32 `out`. For a GPU, which
// saves reading and writing a part by itself.
void LinearAdd(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
               const std::optional<at::Tensor>& bias, at::Tensor& out);

// The gated half of Llama's MLP: out = SiluMultiply(Linear(x, weight, bias)), bit for bit.
//
//   gate_up  [num_tokens, out_features], of the weight's dtype: what lies between the two, where it
//            is written at all
//   out      [num_tokens, out_features / 2], of the weight's dtype
void LinearSiluMultiply(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
                        const std::optional<at::Tensor>& bias, at::Tensor& gate_up,
                        at::Tensor& out);

// The weights of Llama's MLP. gate_up: the gates' features, then as many others; down takes half as
// many.
struct MlpWeights {
  LinearWeight gate_up;
  LinearWeight down;
  std::optional<at::Tensor> gate_up_bias;
  std::optional<at::Tensor> down_bias;
};

// The MLP: Linear, or with `adds` LinearAdd, of LinearSiluMultiply, bit for bit. gate_up
// [num_tokens, gate_up.out_features] and activated [num_tokens, down.in_features], of the weights'
// dtype, are what lies between the products, where it is written at all.
void GatedMlp(KernelContext& context, const at::Tensor& x, const MlpWeights& weights,
              at::Tensor& gate_up, at::Tensor& activated, bool adds, at::Tensor& out);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_LINEAR_H_
