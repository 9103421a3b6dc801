#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>

#include <cstring>
#include <type_traits>

#include "worker/kernels/cuda/ops.h"

namespace lockstep::worker::cuda {
namespace {

// Converts `num` elements at `src`, which need not be aligned.
template <typename To, typename From>
void ConvertElements(const char* src, int64_t num, To* out) {
  if constexpr (std::is_same_v<To, From>) {
    std::memcpy(out, src, static_cast<size_t>(num) * sizeof(To));
  } else {
    for (int64_t i = 0; i < num; ++i) {
      From value;
      std::memcpy(&value, src + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
      out[i] = static_cast<To>(static_cast<float>(value));
    }
  }
}

template <typename To>
void ConvertRow(const char* src, at::ScalarType src_dtype, int64_t num, To* out) {
  switch (src_dtype) {
    case at::kHalf:
      return ConvertElements<To, at::Half>(src, num, out);
    case at::kBFloat16:
      return ConvertElements<To, at::BFloat16>(src, num, out);
    default:
      return ConvertElements<To, float>(src, num, out);
  }
}

void ConvertRow(const char* src, at::ScalarType src_dtype, at::Tensor row /* [num] */) {
  switch (row.scalar_type()) {
    case at::kHalf:
      return ConvertRow(src, src_dtype, row.numel(), row.mutable_data_ptr<at::Half>());
    case at::kBFloat16:
      return ConvertRow(src, src_dtype, row.numel(), row.mutable_data_ptr<at::BFloat16>());
    default:
      return ConvertRow(src, src_dtype, row.numel(), row.mutable_data_ptr<float>());
  }
}

}  // namespace

at::Tensor AllocateWeight(int64_t out_features, int64_t in_features, at::ScalarType dtype,
                          at::Device device) {
  return at::zeros({out_features, in_features}, at::TensorOptions().dtype(dtype).device(device));
}

void PackWeightRows(at::Tensor& packed, int64_t first_row, int64_t num_rows, const void* src,
                    at::ScalarType src_dtype, int64_t src_row_stride) {
  // On whatever thread: a weight that was made without gradients is written without them.
  const c10::InferenceMode no_gradients;
  // Page-locked, so that the copy runs while the next rows are read. LibTorch gives the memory out
  // again only when the copy has ended: WeightLoader bounds how many are under way.
  const at::Tensor staging =
      at::empty({num_rows, packed.size(1)},
                at::TensorOptions().dtype(packed.scalar_type()).pinned_memory(packed.is_cuda()));
  const int64_t row_bytes = src_row_stride * static_cast<int64_t>(c10::elementSize(src_dtype));
  for (int64_t row = 0; row < num_rows; ++row) {
    ConvertRow(static_cast<const char*>(src) + row * row_bytes, src_dtype, staging[row]);
  }
  packed.narrow(0, first_row, num_rows).copy_(staging, /*non_blocking=*/true);
}

void Linear(const at::Tensor& x, const LinearWeight& weight, const std::optional<at::Tensor>& bias,
            at::Tensor& out) {
  if (LinearRow(x, weight.packed(), bias, LinearRowResult::kStore, out)) return;
  const at::Tensor transposed = weight.packed().t();
  if (out.scalar_type() != x.scalar_type()) {
    at::mm_out(out, x, transposed, out.scalar_type());
    if (bias.has_value()) out.add_(*bias);
  } else if (bias.has_value()) {
    // Added before the sum is rounded.
    at::addmm_out(out, bias->to(out.scalar_type()), x, transposed);
  } else {
    at::mm_out(out, x, transposed);
  }
}

void LinearAdd(const at::Tensor& x, const LinearWeight& weight,
               const std::optional<at::Tensor>& bias, at::Tensor& out) {
  if (LinearRow(x, weight.packed(), bias, LinearRowResult::kAdd, out)) return;
  const at::Tensor transposed = weight.packed().t();
  if (x.scalar_type() == at::kFloat) {
    at::addmm_out(out, out, x, transposed);
  } else {
    at::addmm_out(out, out, x, transposed, at::kFloat);
  }
  if (bias.has_value()) out.add_(*bias);
}

bool LinearSiluMultiply(const at::Tensor& x, const LinearWeight& weight,
                        const std::optional<at::Tensor>& bias, at::Tensor& out) {
  return LinearRow(x, weight.packed(), bias, LinearRowResult::kSiluMultiply, out);
}

}  // namespace lockstep::worker::cuda
