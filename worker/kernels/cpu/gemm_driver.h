#ifndef LOCKSTEP_WORKER_KERNELS_CPU_GEMM_DRIVER_H_
#define LOCKSTEP_WORKER_KERNELS_CPU_GEMM_DRIVER_H_

#include <cstdint>

#include "worker/kernels/cpu/kernel_table.h"
#include "worker/kernels/kernel_context.h"

namespace lockstep::worker::cpu {

// One product out = x · weightᵀ + bias over raw memory; strides in elements. Gated, its left half
// are gates and out = silu(left half) · right half, each rounded to the type of `out` before.
struct GemmProblem {
  const void* x;  // [num_rows, depth], of the weight's type
  int64_t x_stride;
  int64_t num_rows;
  const void* weight;  // packed panels (packed_layout.h)
  ElementType weight_type;
  int64_t num_columns;  // output features; gated, twice a multiple of kPanelWidth
  int64_t depth;        // input features
  int64_t padded_depth;
  const float* bias;  // [num_columns] or null
  void* out;          // [num_rows, num_columns], gated half as many
  ElementType out_type;
  int64_t out_stride;
  bool gated = false;
};

// Blocks the product for the caches and spreads the panels over the context's threads.
void RunGemm(KernelContext& context, const GemmProblem& problem);

// A gated product and the one that takes its results, whose x and x_stride are not used: they go
// there as its rows are packed, without a way through memory in between. For kernels that pack
// panels.
void RunGatedMlp(KernelContext& context, const GemmProblem& gated, const GemmProblem& down);

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_WORKER_KERNELS_CPU_GEMM_DRIVER_H_
