#include "worker/runtime/reference_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "worker/device/cpu_device.h"

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ReferenceModelTest : public ::testing::Test {
 protected:
  std::vector<float> Compute(at::ScalarType dtype) {
    return ReferenceModelLogits(device_, dtype, absl::Seconds(60), *context_).value();
  }

  CpuDevice device_;
  std::unique_ptr<KernelContext> context_ = KernelContext::Create({}).value();
};

TEST_F(ReferenceModelTest, TheStoredLogitsAreThoseOfTheCpuInFloat32) {
  const std::vector<float> logits = Compute(at::kFloat);
  ASSERT_EQ(logits.size(), StoredLogits().size());
  for (size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(logits[i], StoredLogits()[i], 2e-5) << "at " << i;
    EXPECT_GT(std::abs(logits[i]), 1e-3) << "a value that is there tells more";
  }
}

TEST_F(ReferenceModelTest, EveryDtypeIsNearEnough) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    EXPECT_EQ(CompareWithStored(Compute(dtype), dtype, "cpu"), absl::OkStatus());
  }
}

TEST_F(ReferenceModelTest, OneWrongLogitIsFoundAndTheDeviceNamed) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    std::vector<float> logits = Compute(dtype);
    logits[17] = -logits[17] + 3.0F;
    const absl::Status status = CompareWithStored(logits, dtype, "cuda:1 NVIDIA H100");
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("cuda:1 NVIDIA H100 computes wrong"), HasSubstr("dmesg")));
  }
}

TEST_F(ReferenceModelTest, Tf32InThePlaceOfFloat32IsRefusedAndNamed) {
  std::vector<float> logits = Compute(at::kFloat);
  // As far off as products of factors that are rounded to 11 bits.
  for (size_t i = 0; i < logits.size(); ++i) logits[i] *= i % 2 == 0 ? 1.0005F : 0.9995F;
  const absl::Status status = CompareWithStored(logits, at::kFloat, "cuda:0 NVIDIA H200");
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("NVIDIA_TF32_OVERRIDE"));
  EXPECT_EQ(CompareWithStored(logits, at::kHalf, "cuda:0 NVIDIA H200"), absl::OkStatus());
}

TEST_F(ReferenceModelTest, ANumberThatIsNoneIsFound) {
  std::vector<float> logits = Compute(at::kFloat);
  logits[3] = std::nanf("");
  EXPECT_EQ(CompareWithStored(logits, at::kFloat, "cpu").code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace lockstep::worker
