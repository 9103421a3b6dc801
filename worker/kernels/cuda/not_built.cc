// The GPU's ops in a build without CUDA, where no tensor can be on a GPU.
#include <c10/util/Exception.h>

#include "worker/kernels/cuda/ops.h"

namespace lockstep::worker::cuda {
namespace {

[[noreturn]] void Refuse(const char* op) {
  TORCH_CHECK(false, op, ": this build has kernels for the CPU only; configure the preset cuda");
}

}  // namespace

at::Tensor AllocateWeight(int64_t out_features, int64_t in_features, at::ScalarType dtype,
                          at::Device device) {
  Refuse("LinearWeight");
}

void PackWeightRows(at::Tensor& packed, int64_t first_row, int64_t num_rows, const void* src,
                    at::ScalarType src_dtype, int64_t src_row_stride) {
  Refuse("PackRows");
}

void Linear(const at::Tensor& x, const LinearWeight& weight, const std::optional<at::Tensor>& bias,
            at::Tensor& out) {
  Refuse("Linear");
}

void LinearAdd(const at::Tensor& x, const LinearWeight& weight,
               const std::optional<at::Tensor>& bias, at::Tensor& out) {
  Refuse("LinearAdd");
}

bool LinearSiluMultiply(const at::Tensor& x, const LinearWeight& weight,
                        const std::optional<at::Tensor>& bias, at::Tensor& out) {
  Refuse("LinearSiluMultiply");
}

void EmbeddingLookup(const at::Tensor& token_ids, const LinearWeight& table, int64_t vocab_begin,
                     int64_t vocab_end, at::Tensor& out) {
  Refuse("EmbeddingLookup");
}

void RmsNorm(const at::Tensor& x, at::Tensor* residual, const at::Tensor& weight, double epsilon,
             at::Tensor& out) {
  Refuse("RmsNorm");
}

void ComputeRopeCosSin(const at::Tensor& positions, const at::Tensor& inv_freq,
                       double attention_scaling, at::Tensor& cos_sin) {
  Refuse("ComputeRopeCosSin");
}

void RopeAndCacheWrite(at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& cache_slots,
                       KvCacheView& cache) {
  Refuse("RopeAndCacheWrite");
}

bool LinearRopeAndCacheWrite(const at::Tensor& x, const at::Tensor& weight,
                             const std::optional<at::Tensor>& bias, const at::Tensor& cos_sin,
                             const at::Tensor& cache_slots, KvCacheView& cache, at::Tensor& qkv) {
  Refuse("LinearRopeAndCacheWrite");
}

void PagedAttention(const at::Tensor& q, const KvCacheView& cache, const AttentionBatch& batch,
                    double scale, at::Tensor& out) {
  Refuse("PagedAttention");
}

void SiluMultiply(const at::Tensor& gate_up, at::Tensor& out) { Refuse("SiluMultiply"); }

void FillPendingTokens(const at::Tensor& last_tokens, at::Tensor& token_ids) {
  Refuse("FillPendingTokens");
}

void StoreTokens(const at::Tensor& token_ids, const at::Tensor& slots, at::Tensor& last_tokens) {
  Refuse("StoreTokens");
}

void SumParts(const at::Tensor& parts, at::Tensor& out) { Refuse("SumParts"); }

}  // namespace lockstep::worker::cuda
