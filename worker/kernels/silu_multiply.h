#ifndef LOCKSTEP_WORKER_KERNELS_SILU_MULTIPLY_H_
#define LOCKSTEP_WORKER_KERNELS_SILU_MULTIPLY_H_

#include <ATen/core/Tensor.h>

#include "worker/kernels/kernel_context.h"

namespace lockstep::worker {

// The gated activation of Llama's MLP: out = silu(gate) · up with silu(g) = g / (1 + exp(-g)), in
// float32, rounded once.
//
//   gate_up  [num_tokens, 2 · ffn], rows may be strided: each row is gate, then up
//   out      [num_tokens, ffn], gate_up's dtype (float32, float16 or bfloat16), rows may be
//   strided; may not overlap gate_up
//
// Throws c10::Error when shapes, dtypes or devices do not fit.
void SiluMultiply(KernelContext& context, const at::Tensor& gate_up, at::Tensor& out);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_SILU_MULTIPLY_H_
