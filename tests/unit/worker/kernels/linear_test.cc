#include "worker/kernels/linear.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>

#include "tests/unit/worker/kernels/kernel_testing.h"
#include "worker/kernels/silu_multiply.h"

namespace lockstep::worker {
namespace {

class LinearTest : public KernelTest {
 protected:
  at::Tensor Run(KernelContext& context, const at::Tensor& x, const LinearWeight& weight,
                 const std::optional<at::Tensor>& bias, at::ScalarType out_dtype) {
    at::Tensor out = at::empty({x.size(0), weight.out_features()}, at::TensorOptions(out_dtype));
    Linear(context, x, weight, bias, out);
    return out;
  }
};

TEST_P(LinearTest, MatchesFloat64ForOddShapes) {
  auto context = Context();
  const int64_t shapes[][3] = {{1, 1, 1},      {1, 33, 7},    {2, 64, 64},     {3, 95, 86},
                               {5, 32, 172},   {13, 100, 65}, {17, 31, 256},   {40, 257, 33},
                               {64, 96, 1100}, {530, 70, 96}, {250, 40, 2304}, {100, 2100, 64}};
  for (const auto& [num_tokens, out_features, in_features] : shapes) {
    const at::Tensor x = RandomTensor({num_tokens, in_features}, dtype(), 1);
    const at::Tensor matrix = RandomTensor({out_features, in_features}, dtype(), 2);
    const at::Tensor bias = RandomTensor({out_features}, dtype(), 3);
    const LinearWeight weight = PackWeight(matrix);
    const at::Tensor expected = at::matmul(ToDouble(x), ToDouble(matrix).t()) + ToDouble(bias);
    const double error = 2e-6 * static_cast<double>(in_features) + 1e-6;
    const std::string what = std::to_string(num_tokens) + " x " + std::to_string(out_features) +
                             " x " + std::to_string(in_features);
    ExpectClose(Run(*context, x, weight, bias, at::kFloat), expected, error, 0, what);
    ExpectClose(Run(*context, x, weight, bias, dtype()), expected, error, RoundingError(dtype()),
                what);
  }
}

TEST_P(LinearTest, RowsKeepTheirBitsWhateverIsBesideThem) {
  auto context = Context();
  const int64_t num_tokens = 600;
  const at::Tensor x = RandomTensor({num_tokens, 1056}, dtype(), 4);
  const LinearWeight weight = PackWeight(RandomTensor({70, 1056}, dtype(), 5));
  const at::Tensor together = Run(*context, x, weight, std::nullopt, at::kFloat);
  for (const int64_t row : {0, 1, 11, 13, 19, 20, 21, 35, 531, 599}) {
    const at::Tensor alone = Run(*context, x.narrow(0, row, 1), weight, std::nullopt, at::kFloat);
    ExpectSameBits(alone, together.narrow(0, row, 1), "row " + std::to_string(row));
  }
  for (const int64_t count : {2, 5, 12, 14, 16, 31, 33}) {
    const at::Tensor some = Run(*context, x.narrow(0, 20, count), weight, std::nullopt, at::kFloat);
    ExpectSameBits(some, together.narrow(0, 20, count), std::to_string(count) + " rows");
  }
}

TEST_P(LinearTest, ThreadsDoNotChangeBits) {
  auto one = Context(1), three = Context(3);
  // A depth of several blocks, and rows that are not a multiple of any tile's.
  const LinearWeight weight = PackWeight(RandomTensor({1000, 1100}, dtype(), 7));
  for (const int64_t num_tokens : {13, 45, 79, 85, 173}) {
    const at::Tensor x = RandomTensor({num_tokens, 1100}, dtype(), 6);
    const at::Tensor expected = Run(*one, x, weight, std::nullopt, at::kFloat);
    for (int repetition = 0; repetition < 3; ++repetition) {
      ExpectSameBits(Run(*three, x, weight, std::nullopt, at::kFloat), expected,
                     std::to_string(num_tokens) + " rows, 3 threads");
    }
  }
}

TEST_P(LinearTest, LargeResultsHaveTheBitsOfSmallOnes) {
  auto context = Context(2);
  constexpr int64_t kNumRows = 530, kPart = 106;
  // Rows of whole cache lines, which may be written around the caches, with a panel that is not
  // full, and others.
  for (const int64_t out_features : {16400, 16402}) {
    const at::Tensor x = RandomTensor({kNumRows, 40}, dtype(), 16);
    const LinearWeight weight = PackWeight(RandomTensor({out_features, 40}, dtype(), 17));
    const at::Tensor bias = RandomTensor({out_features}, dtype(), 18);
    const at::Tensor whole = Run(*context, x, weight, bias, at::kFloat);
    ASSERT_GE(whole.nbytes(), size_t{32} << 20);
    for (int64_t row = 0; row < kNumRows; row += kPart) {
      ExpectSameBits(whole.narrow(0, row, kPart),
                     Run(*context, x.narrow(0, row, kPart), weight, bias, at::kFloat),
                     std::to_string(out_features) + " columns, rows from " + std::to_string(row));
    }
  }
}

TEST_P(LinearTest, TakesStridedRowsAndLeavesTheGapsAlone) {
  auto context = Context();
  const at::Tensor wide = RandomTensor({6, 100}, dtype(), 8);
  const LinearWeight weight = PackWeight(RandomTensor({40, 48}, dtype(), 9));
  at::Tensor target = at::empty({6, 64}, at::TensorOptions(dtype())).fill_(7);
  at::Tensor out = target.narrow(1, 8, 40);
  Linear(*context, wide.narrow(1, 20, 48), weight, std::nullopt, out);
  ExpectSameBits(out,
                 Run(*context, wide.narrow(1, 20, 48).contiguous(), weight, std::nullopt, dtype()),
                 "strided");
  EXPECT_TRUE(target.narrow(1, 0, 8).eq(7).all().item<bool>());
  EXPECT_TRUE(target.narrow(1, 48, 16).eq(7).all().item<bool>());
}

TEST_P(LinearTest, GatesAppliedToTheSumsGiveTheBitsOfTheTwoOps) {
  auto context = Context(2);
  // Halves of whole panels and others; one block of depth and several; one tile of rows and more.
  const int64_t shapes[][3] = {{1, 64, 33}, {3, 128, 300}, {70, 640, 1100}, {40, 70, 64}};
  for (const auto& [num_tokens, out_features, in_features] : shapes) {
    const at::Tensor x = RandomTensor({num_tokens, in_features}, dtype(), 13);
    const LinearWeight weight = PackWeight(RandomTensor({out_features, in_features}, dtype(), 14));
    for (const bool has_bias : {false, true}) {
      std::optional<at::Tensor> bias;
      if (has_bias) bias = RandomTensor({out_features}, dtype(), 15);
      at::Tensor gate_up = at::empty({num_tokens, out_features}, at::TensorOptions(dtype()));
      at::Tensor out = at::empty({num_tokens, out_features / 2}, at::TensorOptions(dtype()));
      at::Tensor expected = at::empty_like(out);
      LinearSiluMultiply(*context, x, weight, bias, gate_up, out);
      SiluMultiply(*context, Run(*context, x, weight, bias, dtype()), expected);
      ExpectSameBits(out, expected,
                     std::to_string(num_tokens) + " x " + std::to_string(out_features) +
                         (has_bias ? ", bias" : ""));
    }
  }
}

TEST_P(LinearTest, TheMlpAtOnceGivesTheBitsOfItsProducts) {
  auto context = Context(2);
  // Intermediate features in whole panels and others; one tile of rows, several, and two passes.
  const int64_t shapes[][4] = {
      {1, 64, 32, 33}, {19, 96, 2400, 40}, {40, 70, 35, 9}, {600, 64, 608, 96}};
  for (const auto& [num_tokens, in_features, ffn, out_features] : shapes) {
    const at::Tensor x = RandomTensor({num_tokens, in_features}, dtype(), 20);
    MlpWeights weights = {.gate_up = PackWeight(RandomTensor({2 * ffn, in_features}, dtype(), 21)),
                          .down = PackWeight(RandomTensor({out_features, ffn}, dtype(), 22)),
                          .gate_up_bias = std::nullopt,
                          .down_bias = std::nullopt};
    at::Tensor gate_up = at::empty({num_tokens, 2 * ffn}, at::TensorOptions(dtype()));
    at::Tensor activated = at::empty({num_tokens, ffn}, at::TensorOptions(dtype()));
    for (const bool has_bias : {false, true}) {
      if (has_bias) {
        weights.gate_up_bias = RandomTensor({2 * ffn}, dtype(), 23);
        weights.down_bias = RandomTensor({out_features}, dtype(), 24);
      }
      at::Tensor out = at::empty({num_tokens, out_features}, at::TensorOptions(at::kFloat));
      at::Tensor expected = at::empty_like(out);
      GatedMlp(*context, x, weights, gate_up, activated, false, out);
      LinearSiluMultiply(*context, x, weights.gate_up, weights.gate_up_bias, gate_up, activated);
      Linear(*context, activated, weights.down, weights.down_bias, expected);
      ExpectSameBits(
          out, expected,
          std::to_string(num_tokens) + " x " + std::to_string(ffn) + (has_bias ? ", bias" : ""));
    }
  }
}

TEST_P(LinearTest, PropagatesNotANumber) {
  auto context = Context();
  at::Tensor x = RandomTensor({3, 64}, dtype(), 10);
  x[1][5] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor out =
      Run(*context, x, PackWeight(RandomTensor({8, 64}, dtype(), 11)), std::nullopt, dtype());
  EXPECT_TRUE(out[1].isnan().all().item<bool>());
  EXPECT_FALSE(out[0].isnan().any().item<bool>());
  EXPECT_FALSE(out[2].isnan().any().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Kernels, LinearTest, ::testing::ValuesIn(AllKernelCases()),
                         KernelCaseName);

TEST(LinearFloat32Test, FusedMultiplyAddLevelsAgreeToTheBit) {
  const at::Tensor x = RandomTensor({20, 300}, at::kFloat, 12);
  const LinearWeight weight = PackWeight(RandomTensor({50, 300}, at::kFloat, 13));
  std::optional<at::Tensor> first;
  for (const IsaLevel level : AvailableIsaLevels()) {
    if (level == IsaLevel::kGeneric) continue;
    at::Tensor out = at::empty({20, 50}, at::TensorOptions(at::kFloat));
    auto context = MakeContext(level);
    Linear(*context, x, weight, std::nullopt, out);
    if (first.has_value()) ExpectSameBits(out, *first, std::string(IsaLevelName(level)));
    first = out;
  }
}

TEST(LinearArgumentsTest, WrongShapesAndTypesThrow) {
  auto context = MakeContext();
  const LinearWeight weight = PackWeight(RandomTensor({8, 16}, at::kFloat, 1));
  at::Tensor out = at::empty({2, 8}, at::TensorOptions(at::kFloat));
  const auto run = [&](const at::Tensor& x) { Linear(*context, x, weight, std::nullopt, out); };
  EXPECT_NO_THROW(run(RandomTensor({2, 16}, at::kFloat, 1)));
  EXPECT_THROW(run(RandomTensor({2, 15}, at::kFloat, 1)), c10::Error);
  EXPECT_THROW(run(RandomTensor({3, 16}, at::kFloat, 1)), c10::Error);
  EXPECT_THROW(run(RandomTensor({2, 16}, at::kBFloat16, 1)), c10::Error);
  EXPECT_THROW(run(RandomTensor({16, 2}, at::kFloat, 1).t()), c10::Error);
}

TEST(LinearArgumentsTest, NoRowsAreNoWork) {
  auto context = MakeContext();
  const LinearWeight weight = PackWeight(RandomTensor({8, 16}, at::kFloat, 1));
  at::Tensor out = at::empty({0, 8}, at::TensorOptions(at::kFloat));
  EXPECT_NO_THROW(Linear(*context, at::empty({0, 16}, at::TensorOptions(at::kFloat)), weight,
                         std::nullopt, out));
}

}  // namespace
}  // namespace lockstep::worker
