#include "tests/testing/random_weights.h"

#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace lockstep::testing {
namespace {

// The sum of four 16-bit words: its mean, and its standard deviation as the definition rounds it.
constexpr int32_t kSumMean = 131070;
constexpr double kSumStd = 37837.0;

constexpr uint64_t SplitMix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

uint64_t Fnv1a64(std::string_view text) {
  uint64_t digest = 0xCBF29CE484222325u;
  for (const char c : text) digest = (digest ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return digest;
}

uint64_t StreamOf(std::string_view name, uint64_t seed) {
  return SplitMix64(Fnv1a64(name) ^ SplitMix64(seed));
}

}  // namespace

absl::StatusOr<StorageType> ParseStorageType(std::string_view name) {
  if (name == "float32") return StorageType::kFloat32;
  if (name == "float16") return StorageType::kFloat16;
  if (name == "bfloat16") return StorageType::kBfloat16;
  return absl::InvalidArgumentError(absl::StrCat("storage type \"", std::string(name),
                                                 "\" is not one of float32, float16, bfloat16"));
}

int BytesPerElement(StorageType storage) { return storage == StorageType::kFloat32 ? 4 : 2; }

int64_t RandomTensor::num_elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

void FillRandomValues(const RandomTensor& tensor, uint64_t seed, int64_t first,
                      std::span<float> values) {
  const float scale = static_cast<float>(tensor.std / kSumStd);
  // The mean is added to the integer: a single rounding, which no fused multiply-add can change.
  const int32_t offset =
      static_cast<int32_t>(std::floor(tensor.mean * kSumStd / tensor.std + 0.5)) - kSumMean;
  const uint64_t begin = StreamOf(tensor.name, seed) + static_cast<uint64_t>(first);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t bits = SplitMix64(begin + i);
    const int32_t sum = static_cast<int32_t>((bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) +
                                             ((bits >> 32) & 0xFFFF) + (bits >> 48));
    values[i] = static_cast<float>(sum + offset) * scale;
  }
}

uint16_t ToFloat16Bits(float value) {
  constexpr uint32_t kSmallestNormal = 113u << 23;  // 2^-14 as a float32
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  // Rebias the exponent from 127 to 15 and round away the 13 lowest bits.
  const uint32_t normal = (magnitude - (112u << 23) + 0xFFF + ((magnitude >> 13) & 1)) >> 13;
  // Added to 0.5, whose last bit weighs 2^-24, a subnormal is rounded to a multiple of 2^-24: the
  // bits that remain.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
                             std::bit_cast<uint32_t>(0.5f);
  return static_cast<uint16_t>(sign | (magnitude < kSmallestNormal ? subnormal : normal));
}

uint16_t ToBfloat16Bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

std::vector<int32_t> RandomTokenIds(std::string_view name, uint64_t seed, int64_t count,
                                    int64_t vocab_size) {
  std::vector<int32_t> ids(count);
  const uint64_t stream = StreamOf(name, seed);
  for (int64_t i = 0; i < count; ++i) {
    ids[i] = static_cast<int32_t>(SplitMix64(stream + static_cast<uint64_t>(i)) %
                                  static_cast<uint64_t>(vocab_size));
  }
  return ids;
}

}  // namespace lockstep::testing
