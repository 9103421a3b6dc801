#include "worker/kernels/rope.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "tests/unit/worker/kernels/kernel_testing.h"

namespace lockstep::worker {
namespace {

constexpr int64_t kHeads = 6, kKvHeads = 2, kBlocks = 5;

at::Tensor Int32(const std::vector<int32_t>& values) {
  return at::tensor(values, at::TensorOptions(at::kInt));
}

KvCacheView MakeCache(int64_t block_size, int64_t head_dim, at::ScalarType dtype) {
  const KvCacheShapes shapes = GetKvCacheShapes(at::kCPU, kBlocks, kKvHeads, block_size, head_dim);
  return {at::zeros(shapes.key, at::TensorOptions(dtype)),
          at::zeros(shapes.value, at::TensorOptions(dtype))};
}

// x [num_tokens, heads, head_dim] rotated in float64: x · cos + rotate_half(x) · sin over the first
// rotary_dim features.
at::Tensor RotateReference(const at::Tensor& x, const at::Tensor& cos_sin) {
  const int64_t rotary = cos_sin.size(1), half = rotary / 2;
  const at::Tensor cos = ToDouble(cos_sin.narrow(1, 0, half)).unsqueeze(1);
  const at::Tensor sin = ToDouble(cos_sin.narrow(1, half, half)).unsqueeze(1);
  const at::Tensor wide = ToDouble(x);
  const at::Tensor a = wide.narrow(2, 0, half), b = wide.narrow(2, half, half);
  return at::cat({a * cos - b * sin, b * cos + a * sin, wide.narrow(2, rotary, x.size(2) - rotary)},
                 2);
}

class RopeTest : public KernelTest {};

TEST_P(RopeTest, RotatesQueriesAndWritesTheCache) {
  auto context = Context(2);
  for (const auto& [head_dim, rotary_dim, block_size] : std::vector<std::array<int64_t, 3>>{
           {8, 8, 8}, {64, 64, 16}, {80, 80, 32}, {96, 48, 8}, {256, 256, 16}}) {
    const at::Tensor before = RandomTensor({4, (kHeads + 2 * kKvHeads) * head_dim}, dtype(), 1);
    at::Tensor qkv = before.clone(),
               cos_sin = at::empty({4, rotary_dim}, at::TensorOptions(at::kFloat));
    ComputeRopeCosSin(*context, Int32({0, 5, 1000, 131071}),
                      RandomTensor({rotary_dim / 2}, at::kFloat, 2).abs(), 1.25, cos_sin);
    KvCacheView cache = MakeCache(block_size, head_dim, dtype());
    const std::vector<int64_t> slots = {3, block_size, kBlocks * block_size - 1, -1};
    RopeAndCacheWrite(*context, qkv, cos_sin, at::tensor(slots, at::TensorOptions(at::kLong)),
                      cache);
    const std::string what = "head_dim " + std::to_string(head_dim);
    const double error = std::max(1e-6, 1.01 * RoundingError(dtype()));
    const auto heads = [&](const at::Tensor& rows, int64_t first, int64_t num) {
      return rows.narrow(1, first * head_dim, num * head_dim).reshape({4, num, head_dim});
    };
    ExpectClose(heads(qkv, 0, kHeads), RotateReference(heads(before, 0, kHeads), cos_sin), 2e-6,
                error, what + " q");
    ExpectSameBits(heads(qkv, kHeads, 2 * kKvHeads), heads(before, kHeads, 2 * kKvHeads),
                   what + " k and v kept");
    const at::Tensor keys = RotateReference(heads(before, kHeads, kKvHeads), cos_sin);
    for (int64_t token = 0; token < 3; ++token) {
      const int64_t block = slots[token] / block_size, offset = slots[token] % block_size;
      ExpectClose(cache.key[block].select(2, offset), keys[token], 2e-6, error, what + " key");
      ExpectSameBits(cache.value[block].select(1, offset),
                     heads(before, kHeads + kKvHeads, kKvHeads)[token], what + " value");
    }
    EXPECT_EQ(
        cache.value.ne(0).sum().item<int64_t>(),
        heads(before, kHeads + kKvHeads, kKvHeads).narrow(0, 0, 3).ne(0).sum().item<int64_t>());
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, RopeTest, ::testing::ValuesIn(AllKernelCases()), KernelCaseName);

TEST(RopeCosSinTest, AnglesAreFloat32ProductsAndSlicesHaveTheirOwnFrequencies) {
  auto context = MakeContext();
  const at::Tensor first = RandomTensor({4}, at::kFloat, 1).abs(), second = first * 0.25;
  at::Tensor cos_sin = at::empty({3, 8}, at::TensorOptions(at::kFloat));
  at::Tensor head = cos_sin.narrow(0, 0, 2), tail = cos_sin.narrow(0, 2, 1);
  ComputeRopeCosSin(*context, Int32({7, 90000}), first, 1.0, head);
  ComputeRopeCosSin(*context, Int32({33}), second, 2.0, tail);
  const auto expected = [](float position, const at::Tensor& inv_freq, double scaling) {
    const at::Tensor angle = ToDouble(inv_freq * position);  // rounded to float32 first
    return at::cat({angle.cos(), angle.sin()}) * scaling;
  };
  ExpectClose(cos_sin[0], expected(7, first, 1), 1e-7, 1e-7, "position 7");
  ExpectClose(cos_sin[1], expected(90000, first, 1), 1e-7, 1e-7, "position 90000");
  ExpectClose(cos_sin[2], expected(33, second, 2), 2e-7, 1e-7, "position 33");
}

TEST(RopeArgumentsTest, ASlotBeyondTheCacheThrows) {
  auto context = MakeContext();
  KvCacheView cache = MakeCache(8, 8, at::kFloat);
  at::Tensor qkv = RandomTensor({1, (kHeads + 2 * kKvHeads) * 8}, at::kFloat, 1);
  const at::Tensor cos_sin = RandomTensor({1, 8}, at::kFloat, 1);
  const auto slot = [](int64_t value) {
    return at::tensor(std::vector<int64_t>{value}, at::TensorOptions(at::kLong));
  };
  EXPECT_NO_THROW(RopeAndCacheWrite(*context, qkv, cos_sin, slot(kBlocks * 8 - 1), cache));
  EXPECT_THROW(RopeAndCacheWrite(*context, qkv, cos_sin, slot(kBlocks * 8), cache), c10::Error);
}

TEST(KvCacheLayoutTest, UnsupportedSizesThrow) {
  EXPECT_THROW(GetKvCacheShapes(at::kCPU, 1, 1, 12, 64), c10::Error);
  EXPECT_THROW(GetKvCacheShapes(at::kCPU, 1, 1, 512, 64), c10::Error);
  EXPECT_THROW(GetKvCacheShapes(at::kCPU, 1, 1, 16, 260), c10::Error);
  EXPECT_THROW(GetKvCacheShapes(at::kCPU, 1, 1, 16, 60), c10::Error);
  EXPECT_THROW(GetKvCacheShapes(at::Device(at::kMeta), 1, 1, 16, 64), c10::Error);
}

}  // namespace
}  // namespace lockstep::worker
