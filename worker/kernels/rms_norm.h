#ifndef LOCKSTEP_WORKER_KERNELS_RMS_NORM_H_
#define LOCKSTEP_WORKER_KERNELS_RMS_NORM_H_

#include <ATen/core/Tensor.h>

#include "worker/kernels/kernel_context.h"

namespace lockstep::worker {

// Root mean square normalization (Zhang and Sennrich 2019), in the rounding order of Hugging Face's
// LlamaRMSNorm: out = weight · dtype(x · rsqrt(mean(x²) + epsilon)), where all but the last
// rounding is float32 and dtype is out's.
//
//   x        [num_tokens, hidden], float32 or out's dtype, rows may be strided
//   weight   [hidden], out's dtype
//   epsilon  added to the mean square
//   out      [num_tokens, hidden], float32, float16 or bfloat16, rows may be strided; may be x
//   itself
//
// A row's result does not depend on the other rows. Throws c10::Error when shapes, dtypes or
// devices do not fit.
void RmsNorm(KernelContext& context, const at::Tensor& x, const at::Tensor& weight, double epsilon,
             at::Tensor& out);

// residual += x, then out = RmsNorm(residual). The residual stream is float32 whatever the model's
// dtype: the all-reduced partial sums arrive as float32, so it costs no conversion, and it loses no
// bits from layer to layer.
//
//   x         [num_tokens, hidden], float32 or out's dtype, rows may be strided
//   residual  [num_tokens, hidden], float32, updated in place, rows may be strided
//   weight, epsilon, out  as above; out overlaps neither x nor residual
void AddRmsNorm(KernelContext& context, const at::Tensor& x, at::Tensor& residual,
                const at::Tensor& weight, double epsilon, at::Tensor& out);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_RMS_NORM_H_
