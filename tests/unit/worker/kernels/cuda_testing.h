#ifndef LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_CUDA_TESTING_H_
#define LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_CUDA_TESTING_H_

#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "tests/unit/worker/kernels/kernel_testing.h"
#ifdef LOCKSTEP_EMULATES_CUDA
#include "tests/testing/cuda_emulation/emulation.h"
#else
#include <ATen/Context.h>
#endif

namespace lockstep::worker {

// The GPU's ops in one dtype. Emulated, each test runs twice, with the threads of a block in either
// order.
class CudaOpTest : public ::testing::TestWithParam<std::tuple<at::ScalarType, bool>> {
 protected:
  void SetUp() override {
#ifdef LOCKSTEP_EMULATES_CUDA
    using testing::emulation::ThreadOrder;
    testing::emulation::SetThreadOrder(std::get<1>(GetParam()) ? ThreadOrder::kDescending
                                                               : ThreadOrder::kAscending);
#else
    if (!at::hasCUDA() || at::getNumGPUs() == 0) GTEST_SKIP() << "there is no GPU here";
    device_ = at::Device(at::kCUDA, 0);
#endif
  }

  at::ScalarType dtype() const { return std::get<0>(GetParam()); }
  at::Device device() const { return device_; }
  KernelContext& context() const { return *context_; }
  // A copy that only the GPU's side of a test has.
  at::Tensor OnDevice(const at::Tensor& tensor) const {
    return device_.is_cpu() ? tensor.clone() : tensor.to(device_);
  }

 private:
  at::Device device_ = at::kCPU;
  std::unique_ptr<KernelContext> context_ = MakeContext();  // of the reference
};

inline std::string CudaOpCaseName(
    const ::testing::TestParamInfo<std::tuple<at::ScalarType, bool>>& info) {
  return std::string(c10::toString(std::get<0>(info.param))) +
         (std::get<1>(info.param) ? "_descending" : "");
}

inline auto CudaOpCases() {
#ifdef LOCKSTEP_EMULATES_CUDA
  const auto orders = ::testing::Bool();
#else
  const auto orders = ::testing::Values(false);
#endif
  return ::testing::Combine(::testing::Values(at::kFloat, at::kHalf, at::kBFloat16), orders);
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_TESTS_UNIT_WORKER_KERNELS_CUDA_TESTING_H_
