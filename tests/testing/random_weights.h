// Seeded random tensors that C++ and Python agree on bit for bit, so that reference values dumped
// by transformers can be tested against without Python. The definition stands in
// tests/parity/model/random_checkpoint.py, in words and in numpy.

#ifndef LOCKSTEP_TESTS_TESTING_RANDOM_WEIGHTS_H_
#define LOCKSTEP_TESTS_TESTING_RANDOM_WEIGHTS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::testing {

// How a tensor's elements lie in the file.
enum class StorageType { kFloat32, kFloat16, kBfloat16 };

// "float32", "float16" or "bfloat16".
absl::StatusOr<StorageType> ParseStorageType(std::string_view name);
int BytesPerElement(StorageType storage);

// One tensor of a checkpoint and how its values are spread (about normally).
struct RandomTensor {
  std::string name;
  std::vector<int64_t> shape;
  double mean = 0.0;
  double std = 0.0;

  int64_t num_elements() const;
};

// Writes elements [first, first + values.size()) of the tensor, in row-major order.
void FillRandomValues(const RandomTensor& tensor, uint64_t seed, int64_t first,
                      std::span<float> values);

// Rounds to nearest even. Values are finite and within the range of the target; float16 subnormals
// are exact.
uint16_t ToFloat16Bits(float value);
uint16_t ToBfloat16Bits(float value);

// `count` token ids below `vocab_size`, for prompts.
std::vector<int32_t> RandomTokenIds(std::string_view name, uint64_t seed, int64_t count,
                                    int64_t vocab_size);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_RANDOM_WEIGHTS_H_
