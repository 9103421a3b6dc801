#include "worker/kernels/paged_attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "tests/unit/worker/kernels/kernel_testing.h"

namespace lockstep::worker {
namespace {

struct Shape {
  int64_t num_heads, num_kv_heads, head_dim, block_size;
};

// A batch of sequences whose keys and values lie in shuffled blocks of a cache; unused blocks hold
// NaN.
class PagedSequences {
 public:
  // `lengths`: context length of each sequence.
  PagedSequences(const Shape& shape, const std::vector<int64_t>& lengths, at::ScalarType dtype)
      : shape_(shape) {
    int64_t max_blocks = 1, num_blocks = 1;
    for (const int64_t length : lengths) {
      max_blocks = std::max(max_blocks, NumBlocks(length));
      num_blocks += NumBlocks(length);
    }
    if (num_blocks % 7 == 0) ++num_blocks;  // 7 then steps through all of them
    const KvCacheShapes shapes = GetKvCacheShapes(at::kCPU, num_blocks, shape.num_kv_heads,
                                                  shape.block_size, shape.head_dim);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    cache_ = {at::full(shapes.key, nan, at::TensorOptions(dtype)),
              at::full(shapes.value, nan, at::TensorOptions(dtype))};
    tables_ = at::full({static_cast<int64_t>(lengths.size()), max_blocks}, -1,
                       at::TensorOptions(at::kInt));
    int64_t next = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      const unsigned seed = 100 + 10 * static_cast<unsigned>(s);
      keys_.push_back(
          RandomTensor({lengths[s], shape.num_kv_heads, shape.head_dim}, dtype, seed, 1.5f));
      values_.push_back(
          RandomTensor({lengths[s], shape.num_kv_heads, shape.head_dim}, dtype, seed + 1));
      queries_.push_back(
          RandomTensor({lengths[s], shape.num_heads * shape.head_dim}, dtype, seed + 2, 1.5f));
      for (int64_t b = 0; b < NumBlocks(lengths[s]); ++b) {
        const int64_t block = next++ * 7 % num_blocks;
        tables_[static_cast<int64_t>(s)][b] = block;
        FillBlock(s, b, block, std::min(shape.block_size, lengths[s] - b * shape.block_size));
      }
    }
  }

  // Attends from positions [begin, end) of each sequence (begin == end: not in the step) in one
  // call.
  at::Tensor Attend(KernelContext& context,
                    const std::vector<std::pair<int64_t, int64_t>>& ranges) const {
    std::vector<int32_t> starts = {0}, lengths;
    std::vector<at::Tensor> rows, tables;
    for (size_t s = 0; s < ranges.size(); ++s) {
      const auto [begin, end] = ranges[s];
      rows.push_back(queries_[s].narrow(0, begin, end - begin));
      starts.push_back(starts.back() + static_cast<int32_t>(end - begin));
      lengths.push_back(static_cast<int32_t>(end));
    }
    at::Tensor q = at::empty({starts.back(), queries_[0].size(1) + 24}, queries_[0].options());
    q = q.narrow(1, 0, queries_[0].size(1));
    for (size_t s = 0; s < rows.size(); ++s) q.narrow(0, starts[s], rows[s].size(0)).copy_(rows[s]);
    at::Tensor out = at::empty({q.size(0), q.size(1)}, q.options());
    const AttentionBatch batch = {at::tensor(starts, at::TensorOptions(at::kInt)),
                                  at::tensor(lengths, at::TensorOptions(at::kInt)), tables_};
    PagedAttention(context, q, cache_, batch, Scale(), out);
    return out;
  }

  // Positions [begin, end) of one sequence in float64.
  at::Tensor Reference(size_t s, int64_t begin, int64_t end) const {
    const int64_t group = shape_.num_heads / shape_.num_kv_heads;
    at::Tensor out =
        at::empty({end - begin, shape_.num_heads, shape_.head_dim}, at::TensorOptions(at::kDouble));
    const at::Tensor q = ToDouble(queries_[s]).view({-1, shape_.num_heads, shape_.head_dim});
    for (int64_t head = 0; head < shape_.num_heads; ++head) {
      const at::Tensor k = ToDouble(keys_[s]).select(1, head / group),
                       v = ToDouble(values_[s]).select(1, head / group);
      for (int64_t position = begin; position < end; ++position) {
        const at::Tensor scores =
            at::matmul(k.narrow(0, 0, position + 1), q[position][head]) * Scale();
        out[position - begin][head] =
            at::matmul(at::softmax(scores, 0), v.narrow(0, 0, position + 1));
      }
    }
    return out.view({end - begin, shape_.num_heads * shape_.head_dim});
  }

 private:
  int64_t NumBlocks(int64_t length) const {
    return (length + shape_.block_size - 1) / shape_.block_size;
  }
  double Scale() const { return 1.0 / std::sqrt(static_cast<double>(shape_.head_dim)); }

  void FillBlock(size_t s, int64_t index, int64_t block, int64_t num) {
    const int64_t first = index * shape_.block_size;
    cache_.key[block].narrow(2, 0, num).copy_(keys_[s].narrow(0, first, num).permute({1, 2, 0}));
    cache_.value[block].narrow(1, 0, num).copy_(
        values_[s].narrow(0, first, num).permute({1, 0, 2}));
  }

  Shape shape_;
  KvCacheView cache_;
  at::Tensor tables_;
  std::vector<at::Tensor> keys_, values_, queries_;
};

class PagedAttentionTest : public KernelTest {};

TEST_P(PagedAttentionTest, MatchesFloat64ForMixedBatches) {
  auto context = Context(2);
  const Shape shapes[] = {{4, 4, 8, 8},   {8, 2, 16, 16},   {32, 8, 64, 16},  {6, 2, 80, 32},
                          {4, 1, 96, 64}, {5, 1, 128, 256}, {2, 1, 256, 128}, {70, 1, 8, 16}};
  for (const Shape& shape : shapes) {
    const PagedSequences sequences(shape, {1, 130, 65, 64, 40}, dtype());
    // A first token, a decode, a whole prompt, a chunk that continues, and a sequence without rows.
    const std::vector<std::pair<int64_t, int64_t>> ranges = {
        {0, 1}, {129, 130}, {0, 65}, {30, 64}, {40, 40}};
    const at::Tensor out = sequences.Attend(*context, ranges);
    int64_t row = 0;
    for (size_t s = 0; s < ranges.size(); ++s) {
      const auto [begin, end] = ranges[s];
      if (begin == end) continue;
      ExpectClose(out.narrow(0, row, end - begin), sequences.Reference(s, begin, end), 5e-6,
                  std::max(2e-6, 1.01 * RoundingError(dtype())),
                  "head_dim " + std::to_string(shape.head_dim) + " sequence " + std::to_string(s));
      row += end - begin;
    }
  }
}

TEST_P(PagedAttentionTest, ChunksOfAPromptAndBlockSizesGiveTheSameBits) {
  auto context = Context();
  std::optional<at::Tensor> first;
  for (const int64_t block_size : {8, 16, 64, 256}) {
    const PagedSequences sequences({8, 2, 64, block_size}, {200}, dtype());
    const at::Tensor whole = sequences.Attend(*context, {{0, 200}});
    if (first.has_value())
      ExpectSameBits(whole, *first, "block size " + std::to_string(block_size));
    first = whole;
    for (const auto& [begin, end] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {3, 70}, {64, 128}, {199, 200}}) {
      ExpectSameBits(sequences.Attend(*context, {{begin, end}}),
                     whole.narrow(0, begin, end - begin), "chunk from " + std::to_string(begin));
    }
  }
}

TEST_P(PagedAttentionTest, ThreadsAndNeighboursDoNotChangeBits) {
  auto one = Context(1), three = Context(3);
  const PagedSequences sequences({8, 2, 32, 16}, {100, 33}, dtype());
  const at::Tensor together = sequences.Attend(*three, {{60, 100}, {0, 33}});
  ExpectSameBits(sequences.Attend(*one, {{60, 100}, {33, 33}}), together.narrow(0, 0, 40), "first");
  ExpectSameBits(sequences.Attend(*one, {{100, 100}, {0, 33}}), together.narrow(0, 40, 33),
                 "second");
}

INSTANTIATE_TEST_SUITE_P(Kernels, PagedAttentionTest, ::testing::ValuesIn(AllKernelCases()),
                         KernelCaseName);

class AttentionArgumentsTest : public ::testing::Test {
 protected:
  void Run(std::vector<int32_t> starts, std::vector<int32_t> lengths, std::vector<int32_t> table) {
    auto context = MakeContext();
    const KvCacheShapes shapes = GetKvCacheShapes(at::kCPU, 4, 1, 8, 8);
    const KvCacheView cache = {at::zeros(shapes.key, at::TensorOptions(at::kFloat)),
                               at::zeros(shapes.value, at::TensorOptions(at::kFloat))};
    const at::Tensor q = at::zeros({2, 8}, at::TensorOptions(at::kFloat));
    at::Tensor out = at::zeros({2, 8}, at::TensorOptions(at::kFloat));
    const at::TensorOptions ints(at::kInt);
    const AttentionBatch batch = {at::tensor(starts, ints), at::tensor(lengths, ints),
                                  at::tensor(table, ints).view({1, -1})};
    PagedAttention(*context, q, cache, batch, 1.0, out);
  }
};

TEST_F(AttentionArgumentsTest, WhatLiesOutsideTheCacheThrows) {
  EXPECT_NO_THROW(Run({0, 2}, {16}, {3, 0}));
  EXPECT_THROW(Run({0, 2}, {16}, {3, 4}), c10::Error);
  EXPECT_THROW(Run({0, 2}, {16}, {3, -1}), c10::Error);
  EXPECT_THROW(Run({0, 2}, {17}, {3, 0}), c10::Error);
  EXPECT_THROW(Run({0, 2}, {1}, {3, 0}), c10::Error);
  EXPECT_THROW(Run({0, 3}, {16}, {3, 0}), c10::Error);
  EXPECT_THROW(Run({2, 0}, {16}, {3, 0}), c10::Error);
}

}  // namespace
}  // namespace lockstep::worker
