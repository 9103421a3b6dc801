#include <c10/util/Exception.h>

#include <cmath>
#include <cstring>

#include "worker/kernels/cpu/kernel_table.h"
#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cpu/packed_layout.h"

namespace lockstep::worker::cpu {
namespace {

// The raw memory of one call; offsets in elements.
struct CacheWriter {
  char* key;
  char* value;
  int64_t element_bytes;
  int64_t num_kv_heads, head_dim, block_size;

  // key [head_dim], value [head_dim] of one token and head.
  void Write(int64_t slot, int64_t head, const char* key_in, const char* value_in) const {
    const int64_t block = slot / block_size, offset = slot % block_size;
    const int64_t first = (block * num_kv_heads + head) * head_dim * block_size;
    std::memcpy(value + (first + offset * head_dim) * element_bytes, value_in,
                static_cast<size_t>(head_dim * element_bytes));
    if (element_bytes == 4) {
      Scatter<uint32_t>(key_in, key + (first + offset) * element_bytes);
    } else {
      Scatter<uint16_t>(key_in, key + (first + offset) * element_bytes);
    }
  }

  template <typename Bits>
  void Scatter(const char* in, char* out) const {
    for (int64_t d = 0; d < head_dim; ++d) {
      std::memcpy(out + d * block_size * static_cast<int64_t>(sizeof(Bits)),
                  in + d * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    }
  }
};

void CheckSlots(const at::Tensor& cache_slots, int64_t num_slots) {
  const int64_t* slots = cache_slots.const_data_ptr<int64_t>();
  for (int64_t token = 0; token < cache_slots.numel(); ++token) {
    TORCH_CHECK(slots[token] < num_slots, "RopeAndCacheWrite: cache_slots[", token, "] is ",
                slots[token], ", beyond the cache's ", num_slots, " slots");
  }
}

}  // namespace

void ComputeRopeCosSin(KernelContext& context, const at::Tensor& positions,
                       const at::Tensor& inv_freq, double attention_scaling, at::Tensor& cos_sin) {
  const int32_t* position = positions.const_data_ptr<int32_t>();
  const float* frequency = inv_freq.const_data_ptr<float>();
  float* out = cos_sin.mutable_data_ptr<float>();
  const int64_t half = inv_freq.numel(), stride = cos_sin.stride(0);
  const float scaling = static_cast<float>(attention_scaling);
  context.pool().ParallelFor(positions.numel(), [&](int, int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      float* row = out + token * stride;
      for (int64_t i = 0; i < half; ++i) {
        const float angle = static_cast<float>(position[token]) * frequency[i];
        row[i] = std::cos(angle) * scaling;
        row[half + i] = std::sin(angle) * scaling;
      }
    }
  });
}

void RopeAndCacheWrite(KernelContext& context, at::Tensor& qkv, const at::Tensor& cos_sin,
                       const at::Tensor& cache_slots, KvCacheView& cache) {
  const int64_t element_bytes = static_cast<int64_t>(qkv.element_size());
  const CacheWriter writer{static_cast<char*>(cache.key.mutable_data_ptr()),
                           static_cast<char*>(cache.value.mutable_data_ptr()),
                           element_bytes,
                           cache.value.size(1),
                           cache.value.size(3),
                           cache.value.size(2)};
  CheckSlots(cache_slots, cache.value.size(0) * writer.block_size);
  const int64_t head_bytes = writer.head_dim * element_bytes;
  const int64_t num_heads = qkv.size(1) / writer.head_dim - 2 * writer.num_kv_heads;
  const int half = static_cast<int>(cos_sin.size(1) / 2);
  const ElementType type = ElementTypeOf(qkv.scalar_type());
  const int64_t* slots = cache_slots.const_data_ptr<int64_t>();
  const float* angles = cos_sin.const_data_ptr<float>();
  char* rows = static_cast<char*>(qkv.mutable_data_ptr());
  const int64_t row_bytes = qkv.stride(0) * element_bytes;
  context.pool().ParallelFor(qkv.size(0), [&](int, int64_t begin, int64_t end) {
    alignas(64) char key[kMaxHeadDim * sizeof(float)];
    for (int64_t token = begin; token < end; ++token) {
      const float* cos = angles + token * cos_sin.stride(0);
      char* heads = rows + token * row_bytes;
      for (int64_t head = 0; head < num_heads; ++head) {
        context.cpu_kernels().rows.rotate_head(heads + head * head_bytes, cos, cos + half, half,
                                               type, heads + head * head_bytes);
      }
      if (slots[token] < 0) continue;
      for (int64_t head = 0; head < writer.num_kv_heads; ++head) {
        const char* key_in = heads + (num_heads + head) * head_bytes;
        std::memcpy(key, key_in, static_cast<size_t>(head_bytes));
        context.cpu_kernels().rows.rotate_head(key_in, cos, cos + half, half, type, key);
        writer.Write(slots[token], head, key, key_in + writer.num_kv_heads * head_bytes);
      }
    }
  });
}

}  // namespace lockstep::worker::cpu
