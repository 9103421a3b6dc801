#include "worker/kernels/silu_multiply.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>

#include "tests/unit/worker/kernels/kernel_testing.h"

namespace lockstep::worker {
namespace {

class SiluMultiplyTest : public KernelTest {};

TEST_P(SiluMultiplyTest, MatchesFloat64) {
  auto context = Context(2);
  for (const int64_t ffn : {1, 7, 16, 86, 1000}) {
    const at::Tensor gate_up = RandomTensor({5, 2 * ffn}, dtype(), 1, 6.0f);
    at::Tensor out = at::empty({5, ffn}, at::TensorOptions(dtype()));
    SiluMultiply(*context, gate_up, out);
    const at::Tensor wide = ToDouble(gate_up);
    ExpectClose(out, at::silu(wide.narrow(1, 0, ffn)) * wide.narrow(1, ffn, ffn), 1e-6,
                std::max(1e-6, 1.01 * RoundingError(dtype())), "ffn " + std::to_string(ffn));
  }
}

TEST_P(SiluMultiplyTest, ExtremeGatesStayFinite) {
  auto context = Context();
  at::Tensor gate_up = at::empty({1, 40}, at::TensorOptions(at::kFloat)).fill_(1);
  const float gates[] = {-60000, -200, -100, -88.5, -87.5, 0, 87.5, 100, 60000};
  for (int i = 0; i < 9; ++i) gate_up[0][i] = gates[i];
  at::Tensor out = at::empty({1, 20}, at::TensorOptions(dtype()));
  SiluMultiply(*context, gate_up.to(dtype()), out);
  ExpectClose(out, at::silu(ToDouble(gate_up.to(dtype())).narrow(1, 0, 20)), 1e-6,
              std::max(1e-6, RoundingError(dtype())), "extremes");
}

INSTANTIATE_TEST_SUITE_P(Kernels, SiluMultiplyTest, ::testing::ValuesIn(AllKernelCases()),
                         KernelCaseName);

}  // namespace
}  // namespace lockstep::worker
