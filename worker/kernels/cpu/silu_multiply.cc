#include "worker/kernels/cpu/kernel_table.h"
#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cpu/packed_layout.h"

namespace lockstep::worker::cpu {

void SiluMultiply(KernelContext& context, const at::Tensor& gate_up, at::Tensor& out) {
  const int64_t ffn = out.size(1), element_bytes = static_cast<int64_t>(out.element_size());
  const char* in = static_cast<const char*>(gate_up.const_data_ptr());
  char* out_data = static_cast<char*>(out.mutable_data_ptr());
  const int64_t in_row_bytes = gate_up.stride(0) * element_bytes,
                out_row_bytes = out.stride(0) * element_bytes;
  const ElementType type = ElementTypeOf(out.scalar_type());
  context.pool().ParallelFor(out.size(0), [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const char* gate = in + row * in_row_bytes;
      context.cpu_kernels().rows.silu_multiply_row(gate, gate + ffn * element_bytes, ffn, type,
                                                   out_data + row * out_row_bytes);
    }
  });
}

}  // namespace lockstep::worker::cpu
