#include <cstring>

#include "worker/kernels/cpu/linear_weight.h"
#include "worker/kernels/cpu/ops.h"

namespace lockstep::worker::cpu {

void EmbeddingLookup(KernelContext& context, const at::Tensor& token_ids, const LinearWeight& table,
                     int64_t vocab_begin, int64_t vocab_end, at::Tensor& out) {
  const bool narrow = token_ids.scalar_type() == at::kInt;
  const void* ids = token_ids.const_data_ptr();
  char* rows = static_cast<char*>(out.mutable_data_ptr());
  const int64_t element_bytes = static_cast<int64_t>(out.element_size());
  const int64_t row_bytes = out.stride(0) * element_bytes;
  context.pool().ParallelFor(token_ids.numel(), [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t id =
          narrow ? static_cast<const int32_t*>(ids)[i] : static_cast<const int64_t*>(ids)[i];
      if (id >= vocab_begin && id < vocab_end) {
        UnpackWeightRow(table.packed(), table.in_features(), id - vocab_begin, out.scalar_type(),
                        rows + i * row_bytes);
      } else {
        std::memset(rows + i * row_bytes, 0,
                    static_cast<size_t>(table.in_features() * element_bytes));
      }
    }
  });
}

}  // namespace lockstep::worker::cpu
