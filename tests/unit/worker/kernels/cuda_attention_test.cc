// The GPU's paged attention beside the CPU's, which has a reference in float64 of its own.

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <limits>

#include "tests/unit/worker/kernels/cuda_testing.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/paged_attention.h"

namespace lockstep::worker {
namespace {

struct Shape {
  int64_t num_heads, num_kv_heads, head_dim, block_size;
};

struct Sequence {
  int64_t context_length, num_rows;
};

// Random queries, and a cache in shuffled blocks whose unused places hold NaN.
struct Problem {
  at::Tensor q;  // [num_rows, num_heads · head_dim], with a gap between rows
  KvCacheView cache;
  AttentionBatch batch;
};

Problem MakeProblem(const Shape& shape, const std::vector<Sequence>& sequences,
                    at::ScalarType dtype) {
  std::vector<int32_t> starts = {0}, lengths;
  int64_t max_blocks = 1, num_blocks = 1;
  for (const Sequence& sequence : sequences) {
    const int64_t blocks = (sequence.context_length + shape.block_size - 1) / shape.block_size;
    starts.push_back(starts.back() + static_cast<int32_t>(sequence.num_rows));
    lengths.push_back(static_cast<int32_t>(sequence.context_length));
    max_blocks = std::max(max_blocks, blocks);
    num_blocks += blocks;
  }
  if (num_blocks % 7 == 0) ++num_blocks;  // 7 then steps through all of them
  Problem problem;
  const KvCacheShapes shapes =
      GetKvCacheShapes(at::kCPU, num_blocks, shape.num_kv_heads, shape.block_size, shape.head_dim);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  problem.cache = {at::full(shapes.key, nan, at::TensorOptions(dtype)),
                   at::full(shapes.value, nan, at::TensorOptions(dtype))};
  at::Tensor tables = at::full({static_cast<int64_t>(sequences.size()), max_blocks}, -1,
                               at::TensorOptions(at::kInt));
  int64_t next = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (int64_t b = 0; b * shape.block_size < sequences[s].context_length; ++b) {
      const int64_t block = next++ * 7 % num_blocks;
      tables[static_cast<int64_t>(s)][b] = block;
      const int64_t used =
          std::min(shape.block_size, sequences[s].context_length - b * shape.block_size);
      const auto seed = static_cast<unsigned>(1000 + next);
      problem.cache.key[block]
          .narrow(2, 0, used)
          .copy_(RandomTensor({shape.num_kv_heads, shape.head_dim, used}, dtype, seed, 1.5F));
      problem.cache.value[block]
          .narrow(1, 0, used)
          .copy_(RandomTensor({shape.num_kv_heads, used, shape.head_dim}, dtype, seed + 5000));
    }
  }
  const int64_t width = shape.num_heads * shape.head_dim;
  problem.q = RandomTensor({starts.back(), width + 24}, dtype, 3, 1.5F).narrow(1, 0, width);
  problem.batch = {at::tensor(starts, at::TensorOptions(at::kInt)),
                   at::tensor(lengths, at::TensorOptions(at::kInt)), tables};
  return problem;
}

class CudaAttentionTest : public CudaOpTest {
 protected:
  at::Tensor OnGpu(const Problem& problem, int64_t num_decodes) {
    const KvCacheView cache = {OnDevice(problem.cache.key.transpose(2, 3).contiguous()),
                               OnDevice(problem.cache.value)};
    const AttentionBatch batch = {OnDevice(problem.batch.query_start_locations),
                                  OnDevice(problem.batch.context_lengths),
                                  OnDevice(problem.batch.block_tables), num_decodes};
    const at::Tensor q = OnDevice(
        problem.q.as_strided({problem.q.size(0), problem.q.stride(0)}, {problem.q.stride(0), 1}));
    at::Tensor out = at::full({problem.q.size(0), problem.q.size(1)},
                              std::numeric_limits<double>::quiet_NaN(), q.options());
    cuda::PagedAttention(q.narrow(1, 0, problem.q.size(1)), cache, batch, kScale, out);
    return out.cpu();
  }

  void ExpectParity(const Shape& shape, const std::vector<Sequence>& sequences, int64_t num_decodes,
                    const std::string& what) {
    const Problem problem = MakeProblem(shape, sequences, dtype());
    at::Tensor expected = at::empty({problem.q.size(0), problem.q.size(1)}, problem.q.options());
    PagedAttention(context(), problem.q, problem.cache, problem.batch, kScale, expected);
    const double rounding = RoundingError(dtype());
    ExpectClose(OnGpu(problem, num_decodes), expected, 1e-5 + 3 * rounding, 2 * rounding, what);
#ifdef LOCKSTEP_EMULATES_CUDA
    testing::emulation::SetHasWarpgroups(true);
    ExpectClose(OnGpu(problem, num_decodes), expected, 1e-5 + 3 * rounding, 2 * rounding,
                what + ", warpgroups");
    testing::emulation::SetHasWarpgroups(false);
#endif
  }

  static constexpr double kScale = 0.11;
};

TEST_P(CudaAttentionTest, DecodesMatchTheCpuAtLengthsAroundTilesAndBlocks) {
  for (const Shape& shape : {Shape{8, 2, 64, 16}, Shape{4, 4, 128, 32}, Shape{6, 2, 24, 8}}) {
    ExpectParity(shape, {{1, 1}, {7, 1}, {64, 1}, {65, 1}, {256, 1}, {257, 1}, {700, 1}}, 7,
                 "head_dim " + std::to_string(shape.head_dim));
  }
}

TEST_P(CudaAttentionTest, PrefillsMatchTheCpuWithAndWithoutCachedTokens) {
  for (const Shape& shape : {Shape{8, 2, 64, 16}, Shape{2, 2, 128, 8}, Shape{6, 2, 80, 32}}) {
    ExpectParity(shape, {{5, 5}, {40, 40}, {130, 3}, {1, 1}, {67, 66}}, 0,
                 "head_dim " + std::to_string(shape.head_dim));
  }
}

TEST_P(CudaAttentionTest, PrefillsOfMoreSequencesThanAWarpHasLanes) {
  std::vector<Sequence> sequences(3, {9, 1});
  for (int64_t s = 0; s < 70; ++s) {
    const int64_t num_rows = s == 40 ? 35 : s % 5 + 1;
    sequences.push_back({num_rows + s % 3 * 7, num_rows});
  }
  ExpectParity({4, 1, 64, 8}, sequences, 3, "70 sequences");
}

TEST_P(CudaAttentionTest, DecodesAndPrefillsShareAStep) {
  ExpectParity({4, 1, 64, 16}, {{300, 1}, {9, 1}, {90, 33}, {20, 20}}, 2, "mixed");
  ExpectParity({5, 5, 128, 16}, {{20, 1}, {70, 70}}, 1, "mixed, no groups");
}

TEST_P(CudaAttentionTest, HeadsOf256FeaturesAndOddGroupsMatchTheCpu) {
  ExpectParity({3, 1, 256, 16}, {{20, 1}, {18, 9}}, 1, "head_dim 256, groups of 3");
  ExpectParity({14, 2, 64, 16}, {{20, 1}, {18, 9}}, 1, "groups of 7");
}

TEST_P(CudaAttentionTest, DecodesOfLongContextsAreMergedFromTheirParts) {
  ExpectParity({4, 1, 64, 16}, {{5000, 1}, {33, 1}, {129, 1}, {513, 1}}, 4, "long");
  ExpectParity({4, 2, 128, 64}, {{1, 1}, {2100, 1}}, 2, "long, head_dim 128");
}

TEST_P(CudaAttentionTest, MoreHeadsThanABlockTakesShareAKvHead) {
  ExpectParity({20, 2, 64, 8}, {{100, 1}, {300, 1}}, 2, "groups of 10");
}

TEST_P(CudaAttentionTest, ADecodesBitsDoNotDependOnTheOtherSequences) {
  const Shape shape = {4, 2, 64, 16};
  const Problem together = MakeProblem(shape, {{600, 1}, {3000, 1}}, dtype());
  Problem alone = together;
  alone.q = together.q.narrow(0, 0, 1);
  alone.batch = {together.batch.query_start_locations.narrow(0, 0, 2),
                 together.batch.context_lengths.narrow(0, 0, 1),
                 together.batch.block_tables.narrow(0, 0, 1).narrow(1, 0, 38).contiguous()};
  ExpectSameBits(OnGpu(alone, 1), OnGpu(together, 2).narrow(0, 0, 1), "the first sequence");
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaAttentionTest, CudaOpCases(), CudaOpCaseName);

}  // namespace
}  // namespace lockstep::worker
