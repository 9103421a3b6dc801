#include "worker/kernels/cpu/kernel_table.h"
#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cpu/packed_layout.h"

namespace lockstep::worker::cpu {

void RmsNorm(KernelContext& context, const at::Tensor& x, at::Tensor* residual,
             const at::Tensor& weight, double epsilon, at::Tensor& out) {
  const char* x_data = static_cast<const char*>(x.const_data_ptr());
  char* out_data = static_cast<char*>(out.mutable_data_ptr());
  float* residual_data = residual == nullptr ? nullptr : residual->mutable_data_ptr<float>();
  const int64_t residual_stride = residual == nullptr ? 0 : residual->stride(0);
  const int64_t x_row_bytes = x.stride(0) * static_cast<int64_t>(x.element_size());
  const int64_t out_row_bytes = out.stride(0) * static_cast<int64_t>(out.element_size());
  const void* weight_data = weight.const_data_ptr();
  const ElementType x_type = ElementTypeOf(x.scalar_type()),
                    type = ElementTypeOf(out.scalar_type());
  context.pool().ParallelFor(x.size(0), [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      context.cpu_kernels().rows.rms_norm_row(
          x_data + row * x_row_bytes, x_type,
          residual == nullptr ? nullptr : residual_data + row * residual_stride, weight_data,
          static_cast<float>(epsilon), x.size(1), type, out_data + row * out_row_bytes);
    }
  });
}

}  // namespace lockstep::worker::cpu
