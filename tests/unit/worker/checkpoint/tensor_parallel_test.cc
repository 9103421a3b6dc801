#include "worker/checkpoint/tensor_parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

LlamaConfig Config(int64_t heads, int64_t kv_heads) {
  LlamaConfig config;
  config.hidden_size = heads * 8;
  config.head_dim = 8;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.intermediate_size = 43;
  config.vocab_size = 131;
  config.num_hidden_layers = 1;
  return config;
}

TEST(TensorParallelTest, RangesCoverEverythingAndDifferByOneAtMost) {
  for (const int64_t size : {8, 43, 131, 128256}) {
    for (const int world_size : {1, 2, 4, 8}) {
      int64_t end = 0;
      for (int rank = 0; rank < world_size; ++rank) {
        const Range range = BalancedRange(size, rank, world_size);
        EXPECT_EQ(range.begin, end);
        EXPECT_GE(range.size(), size / world_size);
        EXPECT_LE(range.size(), size / world_size + 1);
        end = range.end;
      }
      EXPECT_EQ(end, size);
    }
  }
}

TEST(TensorParallelTest, NeighbouringRanksShareAKvHeadWhenThereAreFewer) {
  for (int rank = 0; rank < 8; ++rank) {
    const ShardPlan plan = MakeShardPlan(Config(16, 2), rank, 8);
    EXPECT_EQ(plan.heads, (Range{rank * 2, rank * 2 + 2}));
    EXPECT_EQ(plan.kv_heads, (Range{rank / 4, rank / 4 + 1}));
  }
  EXPECT_EQ(MakeShardPlan(Config(16, 8), 1, 2).kv_heads, (Range{4, 8}));
}

TEST(TensorParallelTest, SizesThatDoNotDivideTheHeadsAreRefusedWithBothNumbers) {
  EXPECT_TRUE(CheckTensorParallel(Config(16, 2), 8).ok());
  for (const int world_size : {0, -1, 3, 16}) {
    EXPECT_FALSE(CheckTensorParallel(Config(16, 16), world_size).ok()) << world_size;
  }
  EXPECT_THAT(std::string(CheckTensorParallel(Config(6, 6), 4).message()),
              AllOf(HasSubstr("4"), HasSubstr("num_attention_heads is 6")));
  EXPECT_THAT(std::string(CheckTensorParallel(Config(12, 3), 2).message()),
              HasSubstr("num_key_value_heads is 3"));
  LlamaConfig narrow = Config(8, 8);
  narrow.intermediate_size = 3;
  EXPECT_THAT(std::string(CheckTensorParallel(narrow, 4).message()),
              HasSubstr("intermediate_size is 3"));
}

TEST(TensorParallelTest, EveryWeightIsReadByTheRanksOnceAndNormsByAll) {
  LlamaConfig config = Config(8, 4);
  config.attention_bias = true;
  config.mlp_bias = true;
  for (const ExpectedTensor& tensor : ExpectedTensors(config)) {
    int64_t size = 1;
    for (const int64_t extent : tensor.shape) size *= extent;
    int64_t num_read = 0;
    for (int rank = 0; rank < 4; ++rank) {
      const TensorSlice slice = RankSlice(config, MakeShardPlan(config, rank, 4), tensor);
      num_read += slice.rows.size() * slice.columns.size();
    }
    const bool is_norm = tensor.name.find("norm") != std::string::npos;
    EXPECT_EQ(num_read, is_norm ? 4 * size : size) << tensor.name;
  }
}

}  // namespace
}  // namespace lockstep::worker
