#ifndef LOCKSTEP_WORKER_KERNELS_CPU_LINEAR_WEIGHT_H_
#define LOCKSTEP_WORKER_KERNELS_CPU_LINEAR_WEIGHT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lockstep::worker::cpu {

// Zero-filled memory for a packed weight, in huge pages where the system gives them: a decode step
// reads every page once.
at::Tensor AllocatePackedWeight(int64_t out_features, int64_t in_features, at::ScalarType dtype);

// As LinearWeight::PackRows, arguments checked.
void PackWeightRows(at::Tensor& packed, int64_t in_features, int64_t first_row, int64_t num_rows,
                    const void* src, at::ScalarType src_dtype, int64_t src_row_stride);

// Writes input features [0, in_features) of `row` to `out`, of the weight's dtype or float32.
void UnpackWeightRow(const at::Tensor& packed, int64_t in_features, int64_t row,
                     at::ScalarType out_dtype, void* out);

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_WORKER_KERNELS_CPU_LINEAR_WEIGHT_H_
