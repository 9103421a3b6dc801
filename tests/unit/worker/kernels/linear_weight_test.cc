#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <vector>

#include "tests/unit/worker/kernels/kernel_testing.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/linear.h"

namespace lockstep::worker {
namespace {

// The rows of a packed weight, read back by looking them up.
at::Tensor Unpack(const LinearWeight& weight) {
  auto context = MakeContext();
  at::Tensor ids = at::empty({weight.out_features()}, at::TensorOptions(at::kLong));
  for (int64_t i = 0; i < ids.numel(); ++i) ids.mutable_data_ptr<int64_t>()[i] = i;
  at::Tensor out =
      at::empty({weight.out_features(), weight.in_features()}, at::TensorOptions(weight.dtype()));
  EmbeddingLookup(*context, ids, weight, 0, weight.out_features(), out);
  return out;
}

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kHalf, at::kBFloat16};

TEST(LinearWeightTest, PackedRowsReadBackConvertedFromEveryType) {
  for (const at::ScalarType to : kDtypes) {
    for (const at::ScalarType from : kDtypes) {
      for (const int64_t in_features : {1, 31, 64, 131}) {
        const at::Tensor matrix = RandomTensor({75, in_features}, from, 1);
        LinearWeight weight = LinearWeight::Create(75, in_features, to, at::kCPU);
        weight.PackRows(0, 75, matrix.const_data_ptr(), from, in_features);
        ExpectSameBits(Unpack(weight), matrix.to(to),
                       std::string(c10::toString(from)) + " to " + c10::toString(to));
      }
    }
  }
}

TEST(LinearWeightTest, ColumnSlicesAndRowOffsetsFuseMatrices) {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor q = RandomTensor({50, 40}, dtype, 1), k = RandomTensor({13, 40}, dtype, 2);
    LinearWeight weight = LinearWeight::Create(63, 20, dtype, at::kCPU);
    const auto second_half = [&](const at::Tensor& matrix) {
      return static_cast<const char*>(matrix.const_data_ptr()) + 20 * matrix.element_size();
    };
    weight.PackRows(50, 13, second_half(k), dtype, 40);
    weight.PackRows(0, 50, second_half(q), dtype, 40);
    ExpectSameBits(Unpack(weight), at::cat({q.narrow(1, 20, 20), k.narrow(1, 20, 20)}),
                   c10::toString(dtype));
  }
}

TEST(LinearWeightTest, SourceNeedsNoAlignment) {
  const at::Tensor matrix = RandomTensor({5, 9}, at::kFloat, 3);
  std::vector<char> bytes(matrix.nbytes() + 1);
  std::memcpy(bytes.data() + 1, matrix.const_data_ptr(), matrix.nbytes());
  for (const at::ScalarType dtype : kDtypes) {
    LinearWeight weight = LinearWeight::Create(5, 9, dtype, at::kCPU);
    weight.PackRows(0, 5, bytes.data() + 1, at::kFloat, 9);
    ExpectSameBits(Unpack(weight), matrix.to(dtype), c10::toString(dtype));
  }
}

TEST(LinearWeightTest, CopiesShareMemoryAndPaddingStaysSmall) {
  const LinearWeight weight = LinearWeight::Create(4096, 2048, at::kBFloat16, at::kCPU);
  const LinearWeight copy = weight;
  EXPECT_EQ(copy.packed().const_data_ptr(), weight.packed().const_data_ptr());
  EXPECT_EQ(weight.num_bytes(), int64_t{4096} * 2048 * 2);
}

TEST(LinearWeightTest, BadArgumentsThrow) {
  EXPECT_THROW(LinearWeight::Create(0, 8, at::kFloat, at::kCPU), c10::Error);
  EXPECT_THROW(LinearWeight::Create(8, 8, at::kInt, at::kCPU), c10::Error);
  EXPECT_THROW(LinearWeight::Create(8, 8, at::kFloat, at::Device(at::kMeta)), c10::Error);
  LinearWeight weight = LinearWeight::Create(8, 8, at::kFloat, at::kCPU);
  const std::vector<float> source(64);
  EXPECT_THROW(weight.PackRows(1, 8, source.data(), at::kFloat, 8), c10::Error);
  EXPECT_THROW(weight.PackRows(-1, 2, source.data(), at::kFloat, 8), c10::Error);
  EXPECT_THROW(weight.PackRows(0, 8, source.data(), at::kLong, 8), c10::Error);
}

}  // namespace
}  // namespace lockstep::worker
