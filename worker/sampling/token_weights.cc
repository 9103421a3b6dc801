#include "worker/sampling/token_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace lockstep::worker {
namespace {

// Compiled for several instruction sets and chosen when the program starts. The build file turns
// contraction to fused multiply-adds off, so that they all round alike.
#define LOCKSTEP_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 1024;

// Cephes' expf: 2^n · exp(r) with |r| <= ln(2) / 2 and a polynomial of degree 5 for (exp(r) - 1 -
// r) / r².
LOCKSTEP_VECTOR_CLONES void ExpLoop(const float* in, int64_t size, float maximum, float temperature,
                                    float* out) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRounder = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer
  constexpr float kMin = -87.0F;
  for (int64_t i = 0; i < size; ++i) {
    const float difference = (in[i] - maximum) / temperature;
    const float x = difference < kMin ? kMin : difference;
    const float n = (x * kLog2E + kRounder) - kRounder;
    const float r = (x - n * kLn2High) - n * kLn2Low;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    const float mantissa = p * (r * r) + r + 1.0F;
    const float power = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
    out[i] = difference < kMin ? 0.0F : mantissa * power;
  }
}

// The sum of up to kBlock weights: float lanes hold up to 64 of them, then double.
LOCKSTEP_VECTOR_CLONES double SumBlock(const float* weights, int64_t size) {
  float lanes[kLanes] = {};
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += weights[i + lane];
  }
  double sum = 0.0;
  for (const float lane : lanes) sum += lane;
  for (int64_t i = whole; i < size; ++i) sum += weights[i];
  return sum;
}

// Whether all elements compare below infinity, and the largest of them.
LOCKSTEP_VECTOR_CLONES bool MaximumLoop(const float* row, int64_t size, float* maximum) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float lanes[kLanes];
  int32_t bad[kLanes] = {};
  std::fill_n(lanes, kLanes, -kInfinity);
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = row[i + lane];
      bad[lane] |= value < kInfinity ? 0 : 1;  // NaN compares false
      lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    }
  }
  bool is_valid = std::none_of(bad, bad + kLanes, [](int32_t flag) { return flag != 0; });
  float largest = *std::max_element(lanes, lanes + kLanes);
  for (int64_t i = whole; i < size; ++i) {
    is_valid = is_valid && row[i] < kInfinity;
    largest = row[i] > largest ? row[i] : largest;
  }
  *maximum = largest;
  return is_valid;
}

}  // namespace

RowMaximum FindMaximum(std::span<const float> row) {
  RowMaximum maximum;
  const bool is_ordered = MaximumLoop(row.data(), static_cast<int64_t>(row.size()), &maximum.value);
  maximum.is_valid = is_ordered && maximum.value > -std::numeric_limits<float>::infinity();
  if (maximum.is_valid) {
    maximum.index = std::find(row.begin(), row.end(), maximum.value) - row.begin();
  }
  return maximum;
}

void ExpWeights(std::span<const float> row, float maximum, float temperature,
                std::span<float> weights) {
  ExpLoop(row.data(), static_cast<int64_t>(row.size()), maximum, temperature, weights.data());
}

double SumWeights(std::span<const float> weights) {
  const auto size = static_cast<int64_t>(weights.size());
  double sum = 0.0;
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    sum += SumBlock(weights.data() + begin, std::min(kBlock, size - begin));
  }
  return sum;
}

int64_t FindCumulative(std::span<const float> weights, double target) {
  const auto size = static_cast<int64_t>(weights.size());
  double sum = 0.0;
  int64_t end = 0;
  for (int64_t begin = 0; begin < size; begin = end) {
    end = std::min(size, begin + kBlock);
    const double block_sum = sum + SumBlock(weights.data() + begin, end - begin);
    if (block_sum > target) {
      for (int64_t i = begin; i < end; ++i) {
        sum += weights[static_cast<size_t>(i)];
        if (sum > target) return i;
      }
      break;  // the two orders of addition round differently: it is the block's last token
    }
    sum = block_sum;
  }
  int64_t last = end - 1;
  while (last > 0 && !(weights[static_cast<size_t>(last)] > 0.0F)) --last;
  return last;
}

}  // namespace lockstep::worker
