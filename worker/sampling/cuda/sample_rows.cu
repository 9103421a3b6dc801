// Sampler for rows of logits on the GPU, one block for each.
#include "worker/sampling/cuda/filters.cuh"
#include "worker/sampling/cuda/processors.cuh"
#include "worker/sampling/cuda/selection.cuh"
#include "worker/sampling/cuda/weights.cuh"

namespace lockstep::worker::cuda {
namespace {

// More would wait for a multiprocessor anyway, and each has scratch memory.
constexpr int64_t kMaxBlocks = 128;
constexpr int64_t kScratchRows = sizeof(RowScratch) / sizeof(float*);

__device__ int ChooseToken(const Block& block, const SampledRowArguments& a, const SampledRow& row,
                           const RowScratch& scratch, const float* logits,
                           const Maximum& model_maximum) {
  Maximum maximum = model_maximum;
  if (row.has_processors) {
    const RowProcessors processors(block, a, row, scratch);
    const auto try_with = [&](Concession concession) {
      processors.Apply(logits, concession);
      maximum = FindMaximum(block, scratch.logits, a.vocab_size);
      return maximum.is_valid;
    };
    const bool is_possible = try_with(Concession::kNone) || try_with(Concession::kEndTokens) ||
                             (row.mask.size > 0 && try_with(Concession::kAllowedTokens));
    if (!is_possible) return static_cast<int>(row.last_resort);
    logits = scratch.logits;
  }
  if (row.temperature == 0.0F) return maximum.index;
  return RowFilters(block, row, scratch, logits, maximum.value, a.vocab_size).Draw();
}

__device__ void ReportToken(const Block& block, const SampledRowArguments& a, const SampledRow& row,
                            const float* logits, RowResult& result) {
  result.model_sum = SumWeights(
      block, a.vocab_size, [&](int i) { return ExpWeight(logits[i], result.model_maximum, 1.0F); });
  result.logit = result.token_id < a.vocab_size ? logits[result.token_id] : kForbidden;
  int num_above = 0;
  block.ForEach(a.vocab_size, [&](int i) { num_above += logits[i] > result.logit ? 1 : 0; });
  result.rank = 1U + static_cast<uint32_t>(block.Sum(num_above));
  if (row.num_top == 0) return;
  const Kth last = FindKthLargest(block, logits, a.vocab_size, row.num_top);
  // Of the tokens as probable as the last one, the lowest ids.
  const int ties_end = block.FindMatch(
      a.vocab_size, [&](int i) { return logits[i] == last.value; }, row.num_top - last.num_above);
  block.Compact(
      a.vocab_size,
      [&](int i) { return logits[i] > last.value || (logits[i] == last.value && i < ties_end); },
      [&](int place, int i) {
        a.top[row.top_begin + static_cast<uint32_t>(place)] = {static_cast<uint32_t>(i), logits[i]};
      });
}

__global__ void __launch_bounds__(kRowThreads) SampleRowsKernel(SampledRowArguments a) {
  __shared__ BlockMemory memory;
  const Block block(memory);
  float* first = a.scratch + static_cast<int64_t>(blockIdx.x) * kScratchRows * a.vocab_size;
  const RowScratch scratch = {
      .logits = first,
      .weights = first + a.vocab_size,
      .integers = reinterpret_cast<unsigned*>(first + 2 * static_cast<int64_t>(a.vocab_size))};
  for (int i = static_cast<int>(blockIdx.x); i < a.num_rows; i += static_cast<int>(gridDim.x)) {
    const SampledRow& row = a.rows[i];
    const float* logits = a.logits + static_cast<int64_t>(i) * a.vocab_size;
    const Maximum maximum = FindMaximum(block, logits, a.vocab_size);
    RowResult result = {};
    result.model_maximum = maximum.value;
    result.is_valid = maximum.is_valid;
    if (maximum.is_valid) {
      result.token_id = row.given_token >= 0 ? row.given_token
                                             : ChooseToken(block, a, row, scratch, logits, maximum);
      if (row.num_top >= 0) ReportToken(block, a, row, logits, result);
    }
    if (block.thread() == 0) {
      a.results[i] = result;
      a.token_ids[i] = result.token_id;
    }
    __syncthreads();
  }
}

int64_t NumBlocks(int64_t num_rows) { return num_rows < kMaxBlocks ? num_rows : kMaxBlocks; }

}  // namespace

int64_t SamplerScratchFloats(int64_t num_rows, int64_t vocab_size) {
  return NumBlocks(num_rows) * kScratchRows * vocab_size;
}

void LaunchSampleRows(const SampledRowArguments& a, Stream stream) {
  if (a.num_rows == 0) return;
  Launch(&SampleRowsKernel, dim3(static_cast<unsigned>(NumBlocks(a.num_rows))), dim3(kRowThreads),
         stream, a);
}

}  // namespace lockstep::worker::cuda
