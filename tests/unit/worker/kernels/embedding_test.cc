#include "worker/kernels/embedding.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include "tests/unit/worker/kernels/kernel_testing.h"

namespace lockstep::worker {
namespace {

TEST(EmbeddingTest, ShardsSumToTheWholeLookup) {
  auto context = MakeContext(std::nullopt, 2);
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor table = RandomTensor({101, 37}, dtype, 1);
    const at::Tensor ids =
        at::tensor(std::vector<int64_t>{0, 50, 51, 100, 7, 7}, at::TensorOptions(at::kLong));
    const LinearWeight low = PackWeight(table.narrow(0, 0, 51)),
                       high = PackWeight(table.narrow(0, 51, 50));
    at::Tensor a = at::empty({6, 37}, at::TensorOptions(at::kFloat)), b = at::empty_like(a);
    EmbeddingLookup(*context, ids, low, 0, 51, a);
    EmbeddingLookup(*context, ids.to(at::kInt), high, 51, 101, b);
    ExpectSameBits(a + b, table.index_select(0, ids).to(at::kFloat), c10::toString(dtype));
  }
}

TEST(EmbeddingTest, IdsOutsideTheVocabularyGiveZeros) {
  auto context = MakeContext();
  const LinearWeight table = PackWeight(RandomTensor({8, 4}, at::kBFloat16, 1));
  const at::Tensor ids =
      at::tensor(std::vector<int64_t>{-1, 8, int64_t{1} << 40}, at::TensorOptions(at::kLong));
  at::Tensor out = at::empty({3, 4}, at::TensorOptions(at::kBFloat16)).fill_(1);
  EmbeddingLookup(*context, ids, table, 0, 8, out);
  EXPECT_TRUE(out.eq(0).all().item<bool>());
}

TEST(EmbeddingTest, ShardLargerThanTheTableThrows) {
  auto context = MakeContext();
  const LinearWeight table = PackWeight(RandomTensor({8, 4}, at::kFloat, 1));
  at::Tensor out = at::empty({1, 4}, at::TensorOptions(at::kFloat));
  const at::Tensor ids = at::tensor(std::vector<int64_t>{8}, at::TensorOptions(at::kLong));
  EXPECT_THROW(EmbeddingLookup(*context, ids, table, 0, 9, out), c10::Error);
}

}  // namespace
}  // namespace lockstep::worker
