#include "worker/comm/sum_in_order.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace lockstep::worker {
namespace {

// Compiled for several instruction sets and chosen when the program starts; additions alone give
// the same bits on all of them.
#define LOCKSTEP_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))

// Small enough to stay in the first-level cache while the parts are added to it.
constexpr int64_t kBlock = 1024;

LOCKSTEP_VECTOR_CLONES void Add2(const float* a, const float* b, int64_t size, float* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = a[i] + b[i];
}

}  // namespace

void SumInOrder(std::span<const float* const> parts, int64_t size, float* out) {
  if (parts.size() == 1) {
    if (parts[0] != out) std::memmove(out, parts[0], static_cast<size_t>(size) * sizeof(float));
    return;
  }
  if (parts.size() == 2) return Add2(parts[0], parts[1], size, out);
  float sum[kBlock];  // `out` may be a part that is still to be read
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t num = std::min(kBlock, size - begin);
    Add2(parts[0] + begin, parts[1] + begin, num, sum);
    for (size_t part = 2; part + 1 < parts.size(); ++part) Add2(sum, parts[part] + begin, num, sum);
    Add2(sum, parts.back() + begin, num, out + begin);
  }
}

}  // namespace lockstep::worker
