#include "worker/kernels/embedding.h"

#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/tensor_checks.h"

namespace lockstep::worker {

void EmbeddingLookup(KernelContext& context, const at::Tensor& token_ids, const LinearWeight& table,
                     int64_t vocab_begin, int64_t vocab_end, at::Tensor& out) {
  constexpr const char* kOp = "EmbeddingLookup";
  TORCH_CHECK(table.defined() && token_ids.defined(), kOp, ": undefined table or token ids");
  const at::ScalarType id_type = token_ids.scalar_type() == at::kInt ? at::kInt : at::kLong;
  CheckVector(token_ids, token_ids.numel(), id_type, kOp, "token_ids");
  CheckRows(out, token_ids.numel(), table.in_features(), kOp, "out");
  CheckDtypeOrFloat(out, table.dtype(), kOp, "out");
  TORCH_CHECK(vocab_begin <= vocab_end && vocab_end - vocab_begin <= table.out_features(), kOp,
              ": tokens [", vocab_begin, ", ", vocab_end, ") do not fit the table's ",
              table.out_features(), " rows");
  CheckDevices(kOp, out.device(), {&token_ids, &table.packed()});
  if (out.is_cuda()) return cuda::EmbeddingLookup(token_ids, table, vocab_begin, vocab_end, out);
  cpu::EmbeddingLookup(context, token_ids, table, vocab_begin, vocab_end, out);
}

}  // namespace lockstep::worker
