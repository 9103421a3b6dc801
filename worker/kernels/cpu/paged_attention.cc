#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "worker/kernels/cpu/kernel_table.h"
#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cpu/packed_layout.h"

namespace lockstep::worker::cpu {
namespace {

// The step's tensors as raw memory.
struct Step {
  const char* q;
  char* out;
  const char* key;
  const char* value;
  const int32_t* query_starts;
  const int32_t* context_lengths;
  const int32_t* block_tables;
  int64_t q_stride, out_stride, table_stride, element_bytes;
  int64_t num_sequences, num_tokens, num_kv_heads, head_dim, block_size, num_blocks, group_size,
      max_blocks;
  const AttentionKernel* kernel;
};

Step MakeStep(const KernelTable& kernels, const at::Tensor& q, const KvCacheView& cache,
              const AttentionBatch& batch, at::Tensor& out) {
  Step step{};
  step.kernel = &kernels.attention[static_cast<int>(ElementTypeOf(q.scalar_type()))];
  step.q = static_cast<const char*>(q.const_data_ptr());
  step.out = static_cast<char*>(out.mutable_data_ptr());
  step.key = static_cast<const char*>(cache.key.const_data_ptr());
  step.value = static_cast<const char*>(cache.value.const_data_ptr());
  step.query_starts = batch.query_start_locations.const_data_ptr<int32_t>();
  step.context_lengths = batch.context_lengths.const_data_ptr<int32_t>();
  step.block_tables = batch.block_tables.const_data_ptr<int32_t>();
  step.q_stride = q.stride(0);
  step.out_stride = out.stride(0);
  step.table_stride = batch.block_tables.stride(0);
  step.element_bytes = static_cast<int64_t>(q.element_size());
  step.num_sequences = batch.context_lengths.numel();
  step.num_tokens = q.size(0);
  step.num_blocks = cache.value.size(0);
  step.num_kv_heads = cache.value.size(1);
  step.block_size = cache.value.size(2);
  step.head_dim = cache.value.size(3);
  step.group_size = q.size(1) / (step.head_dim * step.num_kv_heads);
  step.max_blocks = batch.block_tables.size(1);
  return step;
}

void CheckSequence(const Step& step, int64_t sequence) {
  const int64_t begin = step.query_starts[sequence], end = step.query_starts[sequence + 1];
  const int64_t length = step.context_lengths[sequence];
  TORCH_CHECK(begin >= 0 && begin <= end && end <= step.num_tokens, "PagedAttention: sequence ",
              sequence, " has rows [", begin, ", ", end, ") of ", step.num_tokens);
  const int64_t num_blocks = (length + step.block_size - 1) / step.block_size;
  TORCH_CHECK(length >= end - begin && num_blocks <= step.max_blocks, "PagedAttention: sequence ",
              sequence, " has ", end - begin, " rows, a context of ", length,
              " tokens and a table of ", step.max_blocks, " blocks of ", step.block_size);
  for (int64_t i = 0; i < num_blocks; ++i) {
    const int32_t block = step.block_tables[sequence * step.table_stride + i];
    TORCH_CHECK(block >= 0 && block < step.num_blocks, "PagedAttention: block_tables[", sequence,
                "][", i, "] is ", block, ", the cache has ", step.num_blocks, " blocks");
  }
}

// What one thread takes at a time: some rows of a sequence, and some cache heads with the query
// heads that share them.
struct Part {
  int64_t sequence;
  int64_t first_row;  // in the sequence's rows
  int64_t num_rows;
  int64_t first_kv_head;
  int64_t num_kv_heads;
  int64_t
      first_group_head;  // among the group's heads; only groups above kMaxAttentionRows are split
  int64_t num_group_heads;
};

// The parts of one sequence. Few rows (a decode) are taken with several cache heads, but so that
// there are `min_parts` parts where possible.
void SplitSequence(const Step& step, int64_t sequence, int64_t min_parts,
                   std::vector<Part>& parts) {
  const int64_t num_rows = step.query_starts[sequence + 1] - step.query_starts[sequence];
  if (num_rows == 0) return;
  const int64_t group_heads = std::min<int64_t>(step.group_size, kMaxAttentionRows);
  const int64_t rows = std::min(num_rows, kMaxAttentionRows / group_heads);
  int64_t kv_heads = 1;
  if (group_heads == step.group_size) {
    const int64_t multiple = step.kernel->row_multiple;
    const int64_t rows_per_head = (rows * group_heads + multiple - 1) / multiple * multiple;
    kv_heads = std::min(kMaxAttentionRows / rows_per_head, step.num_kv_heads / min_parts);
    kv_heads = std::max<int64_t>(kv_heads, 1);
  }
  for (int64_t kv_head = 0; kv_head < step.num_kv_heads; kv_head += kv_heads) {
    for (int64_t row = 0; row < num_rows; row += rows) {
      for (int64_t head = 0; head < step.group_size; head += group_heads) {
        parts.push_back({sequence, row, std::min(rows, num_rows - row), kv_head,
                         std::min(kv_heads, step.num_kv_heads - kv_head), head,
                         std::min(group_heads, step.group_size - head)});
      }
    }
  }
}

std::vector<Part> SplitIntoParts(const Step& step, int64_t num_threads) {
  std::vector<Part> parts;
  // One thread wants long reads; several want enough parts per sequence to share them evenly.
  const int64_t min_parts =
      num_threads == 1 ? 1 : 2 * num_threads / std::max<int64_t>(step.num_sequences, 1) + 1;
  for (int64_t sequence = 0; sequence < step.num_sequences; ++sequence) {
    CheckSequence(step, sequence);
    SplitSequence(step, sequence, min_parts, parts);
  }
  return parts;
}

AttentionTask MakeTask(const Step& step, const Part& part, float scale) {
  const int64_t begin = step.query_starts[part.sequence];
  const int64_t num_rows = step.query_starts[part.sequence + 1] - begin;
  const int64_t row = begin + part.first_row;
  const int64_t column =
      (part.first_kv_head * step.group_size + part.first_group_head) * step.head_dim;
  const int64_t cache_offset =
      part.first_kv_head * step.head_dim * step.block_size * step.element_bytes;
  AttentionTask task{};
  task.q = step.q + (row * step.q_stride + column) * step.element_bytes;
  task.q_stride = step.q_stride;
  task.out = step.out + (row * step.out_stride + column) * step.element_bytes;
  task.out_stride = step.out_stride;
  task.num_query_rows = static_cast<int>(part.num_rows);
  task.num_kv_heads = static_cast<int>(part.num_kv_heads);
  task.group_size = static_cast<int>(part.num_group_heads);
  task.head_dim = static_cast<int>(step.head_dim);
  task.context_length = step.context_lengths[part.sequence];
  task.first_position = task.context_length - num_rows + part.first_row;
  task.key_cache = step.key + cache_offset;
  task.value_cache = step.value + cache_offset;
  task.block_stride = step.num_kv_heads * step.head_dim * step.block_size;
  task.block_size = static_cast<int>(step.block_size);
  task.block_table = step.block_tables + part.sequence * step.table_stride;
  task.scale = scale;
  return task;
}

}  // namespace

void PagedAttention(KernelContext& context, const at::Tensor& q, const KvCacheView& cache,
                    const AttentionBatch& batch, double scale, at::Tensor& out) {
  const Step step = MakeStep(context.cpu_kernels(), q, cache, batch, out);
  const std::vector<Part> parts = SplitIntoParts(step, context.pool().num_threads());
  ThreadPool& pool = context.pool();
  float* scratch = static_cast<float*>(context.Scratch(
      static_cast<size_t>(pool.num_threads() * kAttentionScratchFloats) * sizeof(float)));
  // Later rows of a prompt see more keys, so threads take parts as they become free.
  std::atomic<size_t> next{0};
  pool.ParallelFor(pool.num_threads(), [&](int thread, int64_t, int64_t) {
    for (size_t i = next.fetch_add(1); i < parts.size(); i = next.fetch_add(1)) {
      step.kernel->attend(MakeTask(step, parts[i], static_cast<float>(scale)),
                          scratch + thread * kAttentionScratchFloats);
    }
  });
}

}  // namespace lockstep::worker::cpu
