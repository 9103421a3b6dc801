// Attention on a model of the AMX tile registers, beside the baseline's in float32.
#include <c10/util/BFloat16.h>
#include <emmintrin.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "tests/unit/worker/kernels/amx_model_tiles.h"
#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

#include "worker/kernels/cpu/vec.inl"
//
#include "worker/kernels/cpu/attention_rows.inl"
//
#include "worker/kernels/cpu/amx_layout.inl"
//
#include "worker/kernels/cpu/attention_amx_state.inl"
//
#include "worker/kernels/cpu/attention_amx.inl"

BFloat16 ToBFloat16(float value) { return {c10::BFloat16(value).x}; }

float ToFloat(BFloat16 value) { return c10::BFloat16(value.bits, c10::BFloat16::from_bits()); }

struct Shape {
  int num_query_rows, num_kv_heads, group_size, head_dim, block_size;
  int64_t context_length;
};

// A sequence's last rows, its keys and values in blocks that lie in reverse; behind the context the
// blocks hold NaN.
class AmxAttentionTest : public ::testing::TestWithParam<Shape> {
 protected:
  AmxAttentionTest() {
    const Shape& shape = GetParam();
    const int64_t num_blocks = (shape.context_length + shape.block_size - 1) / shape.block_size;
    const int64_t block = int64_t{shape.num_kv_heads} * shape.head_dim * shape.block_size;
    keys_.assign(static_cast<size_t>(num_blocks * block), {0x7fc0});
    values_ = keys_;
    for (int64_t b = 0; b < num_blocks; ++b) {
      table_.push_back(static_cast<int32_t>(num_blocks - 1 - b));
    }
    for (int64_t position = 0; position < shape.context_length; ++position) {
      const int64_t base = table_[static_cast<size_t>(position / shape.block_size)] * block;
      FillPosition(base, position % shape.block_size);
    }
    stride_ = int64_t{shape.num_kv_heads} * shape.group_size * shape.head_dim + 8;
    for (int64_t i = 0; i < shape.num_query_rows * stride_; ++i) q_.push_back(Random(1.5f));
  }

  std::vector<BFloat16> Attend(void (*attend)(const AttentionTask&, float*)) {
    const Shape& shape = GetParam();
    std::vector<BFloat16> out(q_.size(), {0});
    AttentionTask task{};
    task.q = q_.data();
    task.out = out.data();
    task.q_stride = task.out_stride = stride_;
    task.num_query_rows = shape.num_query_rows;
    task.num_kv_heads = shape.num_kv_heads;
    task.group_size = shape.group_size;
    task.head_dim = shape.head_dim;
    task.context_length = shape.context_length;
    task.first_position = shape.context_length - shape.num_query_rows;
    task.key_cache = keys_.data();
    task.value_cache = values_.data();
    task.block_size = shape.block_size;
    task.block_stride = int64_t{shape.num_kv_heads} * shape.head_dim * shape.block_size;
    task.block_table = table_.data();
    task.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    std::vector<float> scratch(kAttentionScratchFloats, std::numeric_limits<float>::quiet_NaN());
    attend(task, scratch.data());
    return out;
  }

 private:
  BFloat16 Random(float deviation) { return ToBFloat16(deviation * normal_(random_)); }

  void FillPosition(int64_t base, int64_t offset) {
    const Shape& shape = GetParam();
    for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
      const int64_t at = base + head * shape.head_dim * shape.block_size;
      for (int64_t i = 0; i < shape.head_dim; ++i) {
        keys_[static_cast<size_t>(at + i * shape.block_size + offset)] = Random(1.5f);
        values_[static_cast<size_t>(at + offset * shape.head_dim + i)] = Random(1.0f);
      }
    }
  }

  std::mt19937 random_{7};
  std::normal_distribution<float> normal_;
  std::vector<BFloat16> keys_, values_, q_;
  std::vector<int32_t> table_;
  int64_t stride_ = 0;
};

TEST_P(AmxAttentionTest, MatchesTheBaseline) {
  const int type = static_cast<int>(ElementType::kBFloat16);
  const std::vector<BFloat16> expected = Attend(GenericKernels().attention[type].attend);
  const std::vector<BFloat16> actual = Attend(AttendAmx<ModelTiles>);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const float want = ToFloat(expected[i]);
    // One unit in the last place of bfloat16: both round, from sums that differ by little.
    ASSERT_NEAR(ToFloat(actual[i]), want, std::abs(want) / 128 + 1e-5) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AmxAttentionTest,
                         ::testing::Values(Shape{1, 4, 4, 64, 16, 200},
                                           Shape{16, 1, 4, 64, 16, 150},
                                           Shape{9, 1, 5, 128, 32, 73}, Shape{64, 1, 1, 80, 64, 64},
                                           Shape{1, 1, 64, 8, 8, 130}, Shape{12, 2, 2, 24, 8, 12},
                                           Shape{3, 1, 8, 256, 256, 65},
                                           Shape{1, 3, 1, 96, 128, 1}));

}  // namespace
}  // namespace lockstep::worker::cpu
