#include "tests/testing/random_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/testing/random_checkpoint.h"

namespace lockstep::testing {
namespace {

using Json = nlohmann::json;

// Values that tests/parity/model/dump_reference.py took from the generator's numpy twin.
Json KnownValues() {
  std::ifstream file(LOCKSTEP_SOURCE_DIR "/tests/parity/model/reference/generator.json");
  return Json::parse(file);
}

uint64_t StoredBits(float value, StorageType storage) {
  switch (storage) {
    case StorageType::kFloat32:
      return std::bit_cast<uint32_t>(value);
    case StorageType::kFloat16:
      return ToFloat16Bits(value);
    case StorageType::kBfloat16:
      return ToBfloat16Bits(value);
  }
  return 0;
}

// Sees every bit and every position.
uint64_t Checksum(const std::vector<float>& values, StorageType storage) {
  uint64_t sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += StoredBits(values[i], storage) * (2 * i + 1);
  return sum;
}

TEST(RandomWeightsTest, TensorsAndValuesEqualThoseOfPythonBitForBit) {
  const Json known = KnownValues();
  const std::vector<RandomTensor> tensors = LlamaTensors(known["config"].dump()).value();
  ASSERT_EQ(tensors.size(), known["tensors"].size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Json& expected = known["tensors"][i];
    SCOPED_TRACE(tensors[i].name);
    EXPECT_EQ(tensors[i].name, expected["name"].get<std::string>());
    EXPECT_EQ(tensors[i].shape, expected["shape"].get<std::vector<int64_t>>());

    std::vector<float> values(tensors[i].num_elements());
    FillRandomValues(tensors[i], known["seed"].get<uint64_t>(), 0, values);
    const auto first_bits = expected["first_bits"].get<std::vector<uint32_t>>();
    for (size_t k = 0; k < first_bits.size(); ++k)
      EXPECT_EQ(std::bit_cast<uint32_t>(values[k]), first_bits[k]) << k;
    for (const char* storage : {"float32", "float16", "bfloat16"}) {
      EXPECT_EQ(Checksum(values, *ParseStorageType(storage)),
                expected["checksums"][storage].get<uint64_t>())
          << storage;
    }
  }
}

TEST(RandomWeightsTest, APartOfATensorHoldsTheSameValuesAsTheWhole) {
  const RandomTensor tensor{"model.norm.weight", {300}, 1.0, 0.125};
  std::vector<float> whole(300);
  std::vector<float> part(100);
  FillRandomValues(tensor, 7, 0, whole);
  FillRandomValues(tensor, 7, 150, part);
  EXPECT_THAT(part, ::testing::ElementsAreArray(whole.begin() + 150, whole.begin() + 250));
}

TEST(RandomWeightsTest, MeanAndDeviationAreAsAskedFor) {
  const RandomTensor tensor{"x", {100000}, 1.0, 0.125};
  std::vector<float> values(100000);
  FillRandomValues(tensor, 7, 0, values);
  double sum = 0.0;
  double squares = 0.0;
  for (const float value : values) {
    sum += value;
    squares += (value - 1.0) * (value - 1.0);
  }
  EXPECT_NEAR(sum / 1e5, 1.0, 0.002);
  EXPECT_NEAR(std::sqrt(squares / 1e5), 0.125, 0.001);
}

TEST(RandomWeightsTest, Float16RoundsToNearestEven) {
  EXPECT_EQ(ToFloat16Bits(1.0f), 0x3C00);
  EXPECT_EQ(ToFloat16Bits(-2.0f), 0xC000);
  EXPECT_EQ(ToFloat16Bits(1.0f + 0x1p-11f), 0x3C00);      // halfway: down to even
  EXPECT_EQ(ToFloat16Bits(1.0f + 3 * 0x1p-11f), 0x3C02);  // halfway: up to even
  EXPECT_EQ(ToFloat16Bits(2.0f - 0x1p-12f), 0x4000);      // carries into the exponent
  EXPECT_EQ(ToFloat16Bits(0x1p-14f), 0x0400);             // the smallest normal number
  EXPECT_EQ(ToFloat16Bits(0x1p-14f - 0x1p-26f), 0x0400);  // rounds up to it
  EXPECT_EQ(ToFloat16Bits(-0x1p-24f), 0x8001);            // the smallest subnormal number
  EXPECT_EQ(ToFloat16Bits(0x1p-25f), 0x0000);             // halfway to it: down to even
  EXPECT_EQ(ToFloat16Bits(3 * 0x1p-25f), 0x0002);         // halfway: up to even
  EXPECT_EQ(ToFloat16Bits(-0.0f), 0x8000);
}

TEST(RandomWeightsTest, Bfloat16RoundsToNearestEven) {
  EXPECT_EQ(ToBfloat16Bits(1.0f), 0x3F80);
  EXPECT_EQ(ToBfloat16Bits(1.0f + 0x1p-8f), 0x3F80);
  EXPECT_EQ(ToBfloat16Bits(1.0f + 3 * 0x1p-8f), 0x3F82);
  EXPECT_EQ(ToBfloat16Bits(-(2.0f - 0x1p-9f)), 0xC000);
}

TEST(RandomWeightsTest, UnknownStorageTypeIsRefusedByName) {
  const absl::Status status = ParseStorageType("int8").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), ::testing::HasSubstr("int8"));
}

}  // namespace
}  // namespace lockstep::testing
