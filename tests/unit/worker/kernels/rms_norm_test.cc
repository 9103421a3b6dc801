#include "worker/kernels/rms_norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/rsqrt.h>

#include "tests/unit/worker/kernels/kernel_testing.h"

namespace lockstep::worker {
namespace {

constexpr double kEpsilon = 1e-5;

// LlamaRMSNorm in float64, with its intermediate rounding to dtype.
at::Tensor Reference(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor wide = ToDouble(x);
  const at::Tensor normalized = wide * at::rsqrt(wide.pow(2).mean(-1, /*keepdim=*/true) + kEpsilon);
  return ToDouble(weight) * normalized.to(weight.scalar_type()).to(at::kDouble);
}

class RmsNormTest : public KernelTest {};

TEST_P(RmsNormTest, MatchesFloat64) {
  auto context = Context();
  for (const int64_t hidden : {1, 8, 15, 64, 100, 2048}) {
    const at::Tensor weight = RandomTensor({hidden}, dtype(), 1);
    for (const at::ScalarType x_dtype : {dtype(), at::kFloat}) {
      const at::Tensor x = RandomTensor({7, hidden}, x_dtype, 2, 3.0f);
      at::Tensor out = at::empty({7, hidden}, at::TensorOptions(dtype()));
      RmsNorm(*context, x, weight, kEpsilon, out);
      // The intermediate rounding may go the other way: one unit.
      ExpectClose(out, Reference(x, weight), 1e-7,
                  dtype() == at::kFloat ? 1e-6 : 3 * RoundingError(dtype()),
                  "hidden " + std::to_string(hidden));
    }
  }
}

TEST_P(RmsNormTest, AddsToTheResidualThenNormalizes) {
  auto context = Context(2);
  const at::Tensor x = RandomTensor({9, 100}, at::kFloat, 3),
                   before = RandomTensor({9, 100}, at::kFloat, 4);
  const at::Tensor weight = RandomTensor({100}, dtype(), 5);
  at::Tensor residual = before.clone(), out = at::empty({9, 100}, at::TensorOptions(dtype()));
  AddRmsNorm(*context, x, residual, weight, kEpsilon, out);
  ExpectSameBits(residual, x + before, "residual");
  at::Tensor expected = at::empty_like(out);
  RmsNorm(*context, residual, weight, kEpsilon, expected);
  ExpectSameBits(out, expected, "out");
}

TEST_P(RmsNormTest, ARowKeepsItsBitsWhateverIsBesideIt) {
  auto context = Context();
  const at::Tensor x = RandomTensor({5, 77}, dtype(), 6), weight = RandomTensor({77}, dtype(), 7);
  at::Tensor together = at::empty({5, 77}, at::TensorOptions(dtype()));
  at::Tensor alone = at::empty({1, 77}, at::TensorOptions(dtype()));
  RmsNorm(*context, x, weight, kEpsilon, together);
  RmsNorm(*context, x.narrow(0, 3, 1), weight, kEpsilon, alone);
  ExpectSameBits(alone, together.narrow(0, 3, 1), "row 3");
}

INSTANTIATE_TEST_SUITE_P(Kernels, RmsNormTest, ::testing::ValuesIn(AllKernelCases()),
                         KernelCaseName);

TEST(RmsNormArgumentsTest, WrongShapesAndTypesThrow) {
  auto context = MakeContext();
  const at::Tensor x = RandomTensor({2, 8}, at::kFloat, 1);
  at::Tensor out = at::empty({2, 8}, at::TensorOptions(at::kBFloat16));
  EXPECT_THROW(RmsNorm(*context, x, RandomTensor({8}, at::kFloat, 1), kEpsilon, out), c10::Error);
  EXPECT_THROW(RmsNorm(*context, x, RandomTensor({7}, at::kBFloat16, 1), kEpsilon, out),
               c10::Error);
  at::Tensor residual = RandomTensor({2, 8}, at::kBFloat16, 1);
  EXPECT_THROW(
      AddRmsNorm(*context, x, residual, RandomTensor({8}, at::kBFloat16, 1), kEpsilon, out),
      c10::Error);
}

}  // namespace
}  // namespace lockstep::worker
