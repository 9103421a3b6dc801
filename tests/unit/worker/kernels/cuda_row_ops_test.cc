// The GPU's row-wise ops beside the CPU's.

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "tests/unit/worker/kernels/cuda_testing.h"
#include "worker/kernels/cuda/launchers.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/cuda/stream.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/rms_norm.h"
#include "worker/kernels/rope.h"
#include "worker/kernels/silu_multiply.h"

namespace lockstep::worker {
namespace {

cuda::Element ElementOf(at::ScalarType dtype) {
  return dtype == at::kFloat  ? cuda::Element::kFloat32
         : dtype == at::kHalf ? cuda::Element::kFloat16
                              : cuda::Element::kBFloat16;
}

class CudaRowOpsTest : public CudaOpTest {
 protected:
  // One rounding may fall the other way.
  void ExpectRounded(const at::Tensor& actual, const at::Tensor& expected,
                     const std::string& what) {
    ExpectClose(actual.cpu(), expected, 1e-6, 4 * RoundingError(dtype()), what);
  }
};

TEST_P(CudaRowOpsTest, RmsNormMatchesTheCpuForAnyWidth) {
  for (const int64_t hidden : {1, 7, 64, 100, 1024, 4096, 5120}) {
    const at::Tensor weight = RandomTensor({hidden}, dtype(), 1);
    for (const at::ScalarType x_type : {dtype(), at::kFloat}) {
      const at::Tensor x = RandomTensor({3, hidden}, x_type, 2, 3.0F);
      at::Tensor expected = at::empty({3, hidden}, weight.options());
      RmsNorm(context(), x, weight, 1e-5, expected);
      at::Tensor out = OnDevice(at::zeros_like(expected));
      cuda::RmsNorm(OnDevice(x), nullptr, OnDevice(weight), 1e-5, out);
      ExpectRounded(out, expected, "hidden " + std::to_string(hidden));
    }
  }
}

TEST_P(CudaRowOpsTest, AddRmsNormUpdatesTheResidualAsTheCpuDoes) {
  // 4096 is what a block keeps in registers.
  for (const int64_t hidden : {5, 64, 1000, 4096, 5120}) {
    const at::Tensor weight = RandomTensor({hidden}, dtype(), 1);
    const at::Tensor x = RandomTensor({4, hidden}, at::kFloat, 2);
    at::Tensor residual = RandomTensor({4, hidden}, at::kFloat, 3);
    at::Tensor device_residual = OnDevice(residual);
    at::Tensor expected = at::empty({4, hidden}, weight.options());
    AddRmsNorm(context(), x, residual, weight, 1e-5, expected);
    at::Tensor out = OnDevice(at::zeros_like(expected));
    cuda::RmsNorm(OnDevice(x), &device_residual, OnDevice(weight), 1e-5, out);
    ExpectSameBits(device_residual.cpu(), residual, "residual");
    ExpectRounded(out, expected, "hidden " + std::to_string(hidden));
  }
}

TEST_P(CudaRowOpsTest, SiluMultiplyMatchesTheCpuForStridedRows) {
  for (const int64_t ffn : {1, 33, 512, 1030}) {
    const at::Tensor gate_up = RandomTensor({3, 2 * ffn + 5}, dtype(), 4, 3.0F);
    at::Tensor expected = at::empty({3, ffn}, gate_up.options());
    SiluMultiply(context(), gate_up.narrow(1, 0, 2 * ffn), expected);
    at::Tensor out = OnDevice(at::zeros_like(expected));
    cuda::SiluMultiply(OnDevice(gate_up).narrow(1, 0, 2 * ffn), out);
    ExpectRounded(out, expected, "ffn " + std::to_string(ffn));
  }
}

TEST_P(CudaRowOpsTest, CosinesAndSinesMatchTheCpuAtFarPositions) {
  const at::Tensor positions = at::tensor({0, 1, 17, 4095, 131071}, at::TensorOptions(at::kInt));
  const at::Tensor inv_freq = at::tensor({1.0F, 0.1F, 0.0123F}, at::TensorOptions(at::kFloat));
  at::Tensor expected = at::empty({5, 6}, inv_freq.options());
  ComputeRopeCosSin(context(), positions, inv_freq, 1.25, expected);
  at::Tensor out = OnDevice(at::zeros_like(expected));
  cuda::ComputeRopeCosSin(OnDevice(positions), OnDevice(inv_freq), 1.25, out);
  ExpectClose(out.cpu(), expected, 1e-6, 1e-6, "cos_sin");
}

TEST_P(CudaRowOpsTest, RotationAndCacheMatchTheCpuAndNegativeSlotsAreNotWritten) {
  constexpr int64_t kBlocks = 3, kBlockSize = 8, kHeads = 4, kKvHeads = 2;
  for (const auto& [head_dim, rotary_dim] :
       {std::pair<int64_t, int64_t>{64, 64}, {24, 20}, {40, 16}}) {
    const int64_t width = (kHeads + 2 * kKvHeads) * head_dim;
    at::Tensor qkv = RandomTensor({4, width}, dtype(), 6);
    at::Tensor device_qkv = OnDevice(qkv);
    const at::Tensor cos_sin = RandomTensor({4, rotary_dim}, at::kFloat, 7);
    const at::Tensor slots =
        at::tensor(std::vector<int64_t>{17, -1, 0, 23}, at::TensorOptions(at::kLong));
    const KvCacheShapes shapes =
        GetKvCacheShapes(at::kCPU, kBlocks, kKvHeads, kBlockSize, head_dim);
    KvCacheView cache = {at::zeros(shapes.key, qkv.options()),
                         at::zeros(shapes.value, qkv.options())};
    KvCacheView device_cache = {OnDevice(cache.key.transpose(2, 3).contiguous()),
                                OnDevice(cache.value)};
    RopeAndCacheWrite(context(), qkv, cos_sin, slots, cache);
    cuda::RopeAndCacheWrite(device_qkv, OnDevice(cos_sin), OnDevice(slots), device_cache);
    ExpectRounded(device_qkv, qkv, "qkv");
    ExpectRounded(device_cache.key, cache.key.transpose(2, 3).contiguous(), "keys");
    ExpectSameBits(device_cache.value.cpu(), cache.value, "values");
  }
}

TEST_P(CudaRowOpsTest, EmbeddingGivesZerosOutsideTheShardForAnyWidth) {
  const std::vector<int32_t> ids = {12, 3, 14, 15, 10};  // the shard has 10 to 14
  const at::Tensor token_ids = OnDevice(at::tensor(ids, at::TensorOptions(at::kInt)));
  // Odd ones; packs; more than a block's worth of elements, and of packs. Rows apart, and rows that
  // begin where no pack may.
  for (const int64_t hidden : {1, 7, 96, 300, 301, 2056, 4096}) {
    for (const int64_t gap : {0, 3, 8}) {
      for (const at::ScalarType out_type : {dtype(), at::kFloat}) {
        const at::Tensor table = RandomTensor({5, hidden}, dtype(), 8);
        const at::Tensor device_table = OnDevice(table);
        at::Tensor out = OnDevice(at::full({5, hidden + gap}, 7.0, at::TensorOptions(out_type)));
        cuda::LaunchEmbedding({.token_ids = token_ids.const_data_ptr(),
                               .wide_ids = false,
                               .table = device_table.const_data_ptr(),
                               .table_type = ElementOf(dtype()),
                               .vocab_begin = 10,
                               .vocab_end = 15,
                               .out = out.mutable_data_ptr(),
                               .out_stride = hidden + gap,
                               .out_type = ElementOf(out_type),
                               .num_tokens = 5,
                               .hidden = static_cast<int>(hidden)},
                              cuda::CurrentStream(device()));
        at::Tensor expected = at::full({5, hidden + gap}, 7.0, at::TensorOptions(out_type));
        at::Tensor written = expected.narrow(1, 0, hidden).zero_();
        for (const int64_t i : {0, 2, 4}) written[i].copy_(table[ids[static_cast<size_t>(i)] - 10]);
        ExpectSameBits(out.cpu(), expected, "hidden " + std::to_string(hidden));
      }
    }
  }
}

TEST_P(CudaRowOpsTest, PartsAreAddedInTheirOrderBitForBit) {
  for (const int64_t num_parts : {1, 2, 3, 8}) {
    for (const int64_t size : {1, 3, 1000, 1024, 5001}) {
      const at::Tensor parts = RandomTensor({num_parts, size}, at::kFloat, 12, 100.0F);
      at::Tensor expected = parts[0].clone();
      for (int64_t part = 1; part < num_parts; ++part) expected.add_(parts[part]);
      at::Tensor out = OnDevice(at::zeros_like(expected));
      cuda::SumParts(OnDevice(parts), out);
      ExpectSameBits(out.cpu(), expected,
                     std::to_string(num_parts) + " parts of " + std::to_string(size));
    }
  }
}

TEST_P(CudaRowOpsTest, TokensStayOnTheDeviceForTheNextStep) {
  // Slots 0 to 399 of 600 have chosen 1000 + slot, in the order of odd steps through them.
  constexpr int64_t kNumTokens = 400;
  at::Tensor token_ids = at::empty({kNumTokens}, at::TensorOptions(at::kLong));
  at::Tensor slots = at::empty({kNumTokens}, at::TensorOptions(at::kInt));
  for (int64_t i = 0; i < kNumTokens; ++i) {
    const int64_t slot = i * 7 % kNumTokens;
    slots.data_ptr<int32_t>()[i] = static_cast<int32_t>(slot);
    token_ids.data_ptr<int64_t>()[i] = 1000 + slot;
  }
  at::Tensor last_tokens = OnDevice(at::zeros({600}, at::TensorOptions(at::kInt)));
  cuda::StoreTokens(OnDevice(token_ids), OnDevice(slots), last_tokens);
  at::Tensor inputs = at::empty({300}, at::TensorOptions(at::kInt));
  for (int32_t i = 0; i < 300; ++i) inputs.data_ptr<int32_t>()[i] = i % 3 == 0 ? i : -1 - i;
  at::Tensor filled = OnDevice(inputs);
  cuda::FillPendingTokens(last_tokens, filled);
  const at::Tensor host = filled.cpu();
  for (int32_t i = 0; i < 300; ++i) {
    EXPECT_EQ(host.const_data_ptr<int32_t>()[i], i % 3 == 0 ? i : 1000 + i) << "token " << i;
  }
}

// What one row's product is compared with: the CPU's.
struct RowProblem {
  at::Tensor matrix, x, bias;

  RowProblem(int64_t out_features, int64_t in_features, at::ScalarType dtype)
      : matrix(RandomTensor({out_features, in_features}, dtype, 9)),
        x(RandomTensor({1, in_features}, dtype, 11)),
        bias(RandomTensor({out_features}, dtype, 10)) {}
};

TEST_P(CudaRowOpsTest, OneRowsProductMatchesTheCpu) {
  // With a rest of packs, of output features, and less than a block's worth; and as much as a block
  // reads at once, no pack less or more.
  for (const auto& [out_features, in_features] :
       std::vector<std::pair<int64_t, int64_t>>{{70, 96}, {33, 4104}, {5, 4096}, {6, 14336}}) {
    const RowProblem problem(out_features, in_features, dtype());
    for (const at::ScalarType out_type : {dtype(), at::kFloat}) {
      at::Tensor expected = at::empty({1, out_features}, at::TensorOptions(out_type));
      Linear(context(), problem.x, PackWeight(problem.matrix), problem.bias, expected);
      at::Tensor out = OnDevice(at::full_like(expected, std::nan("")));
      const bool has_kernel =
          cuda::LinearRow(OnDevice(problem.x), OnDevice(problem.matrix), OnDevice(problem.bias),
                          cuda::LinearRowResult::kStore, out);
      EXPECT_EQ(has_kernel, dtype() != at::kFloat);
      if (!has_kernel) continue;
      ExpectClose(out.cpu(), expected, 1e-3, 4 * RoundingError(out_type), "one row");
    }
  }
}

TEST_P(CudaRowOpsTest, OneRowsProductIsAddedOrGated) {
  if (dtype() == at::kFloat) return;
  const RowProblem problem(140, 264, dtype());
  at::Tensor product = at::empty({1, 140}, problem.x.options());
  Linear(context(), problem.x, PackWeight(problem.matrix), std::nullopt, product);
  at::Tensor gated = at::empty({1, 70}, problem.x.options());
  SiluMultiply(context(), product, gated);
  at::Tensor out = OnDevice(at::full_like(gated, std::nan("")));
  ASSERT_TRUE(cuda::LinearRow(OnDevice(problem.x), OnDevice(problem.matrix), std::nullopt,
                              cuda::LinearRowResult::kSiluMultiply, out));
  ExpectClose(out.cpu(), gated, 1e-3, 8 * RoundingError(dtype()), "gated");

  const at::Tensor old = RandomTensor({1, 140}, at::kFloat, 12);
  at::Tensor sum = OnDevice(old.clone());
  ASSERT_TRUE(cuda::LinearRow(OnDevice(problem.x), OnDevice(problem.matrix), OnDevice(problem.bias),
                              cuda::LinearRowResult::kAdd, sum));
  at::Tensor expected = old.clone();
  LinearAdd(context(), problem.x, PackWeight(problem.matrix), problem.bias, expected);
  ExpectClose(sum.cpu(), expected, 1e-3, 1e-5, "added");
}

// Two blocks of the cache, of which no element is zero.
KvCacheView FilledCache(int64_t num_kv_heads, int64_t head_dim, at::ScalarType dtype) {
  const KvCacheShapes shapes = GetKvCacheShapes(at::kCUDA, 2, num_kv_heads, 8, head_dim);
  return {at::full(shapes.key, 3.0, at::TensorOptions(dtype)),
          at::full(shapes.value, 5.0, at::TensorOptions(dtype))};
}

struct ProjectionCase {
  int64_t head_dim, num_kv_heads, group_size;
  bool has_bias;
  int64_t slot;

  std::string Name() const {
    return std::to_string(head_dim) + " features, groups of " + std::to_string(group_size) +
           (has_bias ? ", bias, slot " : ", slot ") + std::to_string(slot);
  }
};

// Emulated blocks take their time: each size once, with what else there is spread over them. Slot
// 13 is in the cache, -1 in none, 16 beyond it.
constexpr ProjectionCase kProjectionCases[] = {
    {64, 2, 1, true, 13}, {64, 1, 4, false, 13}, {64, 1, 8, true, 13}, {128, 2, 1, false, 13},
    {128, 1, 4, true, 7}, {128, 1, 8, false, 8}, {64, 1, 1, true, -1}, {64, 1, 1, false, 16}};

TEST_P(CudaRowOpsTest, OneRowsProjectionIsRotatedAndCachedBitForBitAsInTwoSteps) {
  if (dtype() == at::kFloat) return;
  for (const ProjectionCase& sizes : kProjectionCases) {
    const int64_t q_size = sizes.num_kv_heads * sizes.group_size * sizes.head_dim;
    const RowProblem problem(q_size + 2 * sizes.num_kv_heads * sizes.head_dim, 72, dtype());
    const at::Tensor x = OnDevice(problem.x), matrix = OnDevice(problem.matrix);
    std::optional<at::Tensor> bias;
    if (sizes.has_bias) bias = OnDevice(problem.bias);
    const at::Tensor cos_sin = OnDevice(RandomTensor({1, sizes.head_dim}, at::kFloat, 7));
    const at::Tensor slots = OnDevice(at::full({1}, sizes.slot, at::TensorOptions(at::kLong)));
    const KvCacheView filled = FilledCache(sizes.num_kv_heads, sizes.head_dim, dtype());
    KvCacheView expected = {OnDevice(filled.key), OnDevice(filled.value)};
    KvCacheView actual = {OnDevice(filled.key), OnDevice(filled.value)};
    at::Tensor two_steps = OnDevice(at::empty({1, matrix.size(0)}, problem.x.options()));
    at::Tensor one_step = OnDevice(at::full({1, matrix.size(0)}, 9.0, problem.x.options()));
    ASSERT_TRUE(cuda::LinearRow(x, matrix, bias, cuda::LinearRowResult::kStore, two_steps));
    cuda::RopeAndCacheWrite(two_steps, cos_sin, slots, expected);
    ASSERT_TRUE(cuda::LinearRopeAndCacheWrite(x, matrix, bias, cos_sin, slots, actual, one_step));
    ExpectSameBits(one_step.narrow(1, 0, q_size).contiguous().cpu(),
                   two_steps.narrow(1, 0, q_size).contiguous().cpu(), "queries: " + sizes.Name());
    ExpectSameBits(actual.key.cpu(), expected.key.cpu(), "keys: " + sizes.Name());
    ExpectSameBits(actual.value.cpu(), expected.value.cpu(), "values: " + sizes.Name());
  }
}

TEST_P(CudaRowOpsTest, AProjectionThatIsNotOneWholeRotationIsLeftToTheTwoSteps) {
  const at::Tensor matrix = OnDevice(RandomTensor({4 * 64, 64}, dtype(), 9));
  KvCacheView cache = FilledCache(/*num_kv_heads=*/1, 64, dtype());
  cache = {OnDevice(cache.key), OnDevice(cache.value)};
  for (const auto& [num_rows, rotary_dim] : {std::pair<int64_t, int64_t>{2, 64}, {1, 32}}) {
    const at::Tensor x = OnDevice(RandomTensor({num_rows, 64}, dtype(), 11));
    const at::Tensor cos_sin = OnDevice(RandomTensor({num_rows, rotary_dim}, at::kFloat, 7));
    const at::Tensor slots = OnDevice(at::zeros({num_rows}, at::TensorOptions(at::kLong)));
    at::Tensor qkv = OnDevice(at::zeros({num_rows, 4 * 64}, at::TensorOptions(dtype())));
    EXPECT_FALSE(cuda::LinearRopeAndCacheWrite(x, matrix, {}, cos_sin, slots, cache, qkv));
  }
}

#ifndef LOCKSTEP_EMULATES_CUDA  // LibTorch's matrix product

TEST_P(CudaRowOpsTest, ProductsAreAddedAndGatedAsOnTheCpu) {
  for (const int64_t num_rows : {1, 5}) {
    const at::Tensor matrix = RandomTensor({72, 96}, dtype(), 9),
                     bias = RandomTensor({72}, dtype(), 10);
    const at::Tensor x = RandomTensor({num_rows, 96}, dtype(), 11);
    LinearWeight weight = LinearWeight::Create(72, 96, dtype(), device());
    weight.PackRows(0, 72, matrix.const_data_ptr(), dtype(), 96);
    const LinearWeight packed = PackWeight(matrix);
    at::Tensor expected = RandomTensor({num_rows, 72}, at::kFloat, 12);
    at::Tensor sum = OnDevice(expected.clone());
    LinearAdd(context(), x, packed, bias, expected);
    LinearAdd(context(), OnDevice(x), weight, OnDevice(bias), sum);
    ExpectClose(sum.cpu(), expected, 1e-3, 1e-5, "added");

    at::Tensor gate_up = at::empty({num_rows, 72}, x.options());
    at::Tensor gated = at::empty({num_rows, 36}, x.options());
    LinearSiluMultiply(context(), x, packed, bias, gate_up, gated);
    at::Tensor gate_up_there = OnDevice(gate_up);
    at::Tensor gated_there = OnDevice(at::zeros_like(gated));
    LinearSiluMultiply(context(), OnDevice(x), weight, OnDevice(bias), gate_up_there, gated_there);
    ExpectClose(gated_there.cpu(), gated, 1e-3, 8 * RoundingError(dtype()), "gated");
  }
}

TEST_P(CudaRowOpsTest, LinearMatchesTheCpuAlsoWithBiasAndFloat32Results) {
  for (const at::ScalarType out_type : {dtype(), at::kFloat}) {
    const at::Tensor matrix = RandomTensor({70, 96}, dtype(), 9),
                     bias = RandomTensor({70}, dtype(), 10);
    const at::Tensor x = RandomTensor({5, 96}, dtype(), 11);
    LinearWeight weight = LinearWeight::Create(70, 96, dtype(), device());
    weight.PackRows(0, 70, matrix.const_data_ptr(), dtype(), 96);
    at::Tensor expected = at::empty({5, 70}, at::TensorOptions(out_type));
    Linear(context(), x, PackWeight(matrix), bias, expected);
    at::Tensor out = OnDevice(at::zeros_like(expected));
    Linear(context(), OnDevice(x), weight, OnDevice(bias), out);
    ExpectClose(out.cpu(), expected, 1e-4, 4 * RoundingError(out_type), "linear");
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(Cuda, CudaRowOpsTest, CudaOpCases(), CudaOpCaseName);

}  // namespace
}  // namespace lockstep::worker
