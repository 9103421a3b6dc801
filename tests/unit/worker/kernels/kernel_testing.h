#ifndef LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_KERNEL_TESTING_H_
#define LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_KERNEL_TESTING_H_

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/linear.h"

namespace lockstep::worker {

inline std::vector<IsaLevel> AvailableIsaLevels() {
  std::vector<IsaLevel> levels;
  for (const IsaLevel level : kAllIsaLevels) {
    if (level <= DetectIsaLevel()) levels.push_back(level);
  }
  return levels;
}

inline std::unique_ptr<KernelContext> MakeContext(std::optional<IsaLevel> level = std::nullopt,
                                                  int num_threads = 1) {
  auto context = KernelContext::Create({.num_threads = num_threads, .isa_level = level});
  EXPECT_TRUE(context.ok()) << context.status();
  EXPECT_TRUE((*context)->warnings().empty()) << (*context)->warnings().front();
  return *std::move(context);
}

// Normally distributed values of a fixed seed, converted to dtype.
inline at::Tensor RandomTensor(std::vector<int64_t> shape, at::ScalarType dtype, unsigned seed,
                               float scale = 1.0f) {
  at::Tensor values = at::empty(shape, at::TensorOptions(at::kFloat));
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0.0f, scale);
  float* data = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) data[i] = distribution(generator);
  return values.to(dtype);
}

inline at::Tensor ToDouble(const at::Tensor& tensor) { return tensor.to(at::kDouble).contiguous(); }

inline LinearWeight PackWeight(const at::Tensor& matrix /* [out, in], contiguous */) {
  LinearWeight weight =
      LinearWeight::Create(matrix.size(0), matrix.size(1), matrix.scalar_type(), at::kCPU);
  weight.PackRows(0, matrix.size(0), matrix.const_data_ptr(), matrix.scalar_type(),
                  matrix.stride(0));
  return weight;
}

// |actual - expected| <= absolute + relative · |expected|, else the worst index and both values.
inline void ExpectClose(const at::Tensor& actual, const at::Tensor& expected, double absolute,
                        double relative, const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  const at::Tensor a = ToDouble(actual), e = ToDouble(expected);
  const double* got = a.const_data_ptr<double>();
  const double* want = e.const_data_ptr<double>();
  int64_t worst = -1;
  double worst_excess = 0.0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double excess = std::abs(got[i] - want[i]) / (absolute + relative * std::abs(want[i]));
    if (!(excess <= 1.0) && (worst < 0 || !(excess <= worst_excess))) {
      worst = i;
      worst_excess = excess;
    }
  }
  EXPECT_LT(worst, 0) << what << ": worst at element " << worst << " of shape " << actual.sizes()
                      << ": got " << got[worst] << ", expected " << want[worst];
}

// Bit equality; the message names the first difference.
inline void ExpectSameBits(const at::Tensor& actual, const at::Tensor& expected,
                           const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  const at::Tensor a = actual.contiguous(), e = expected.contiguous();
  const size_t size = a.element_size();
  const char* got = static_cast<const char*>(a.const_data_ptr());
  const char* want = static_cast<const char*>(e.const_data_ptr());
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (std::memcmp(got + i * size, want + i * size, size) == 0) continue;
    FAIL() << what << ": element " << i << " of shape " << actual.sizes() << " is "
           << ToDouble(a).const_data_ptr<double>()[i] << ", expected the bits of "
           << ToDouble(e).const_data_ptr<double>()[i];
  }
}

// Half a unit in the last place of dtype, relative.
inline double RoundingError(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? 1.0 / 256 : dtype == at::kHalf ? 1.0 / 2048 : 1.0 / (1 << 24);
}

// One test per instruction set and dtype.
struct KernelCase {
  IsaLevel level;
  at::ScalarType dtype;
};

inline std::vector<KernelCase> AllKernelCases() {
  std::vector<KernelCase> cases;
  for (const IsaLevel level : AvailableIsaLevels()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16})
      cases.push_back({level, dtype});
  }
  return cases;
}

inline std::string KernelCaseName(const ::testing::TestParamInfo<KernelCase>& info) {
  return std::string(IsaLevelName(info.param.level)) + "_" + c10::toString(info.param.dtype);
}

class KernelTest : public ::testing::TestWithParam<KernelCase> {
 protected:
  at::ScalarType dtype() const { return GetParam().dtype; }
  std::unique_ptr<KernelContext> Context(int num_threads = 1) const {
    return MakeContext(GetParam().level, num_threads);
  }
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_KERNEL_TESTING_H_
