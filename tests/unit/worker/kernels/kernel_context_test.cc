#include "worker/kernels/kernel_context.h"

#include <gtest/gtest.h>

#include "tests/unit/worker/kernels/kernel_testing.h"
#include "worker/kernels/cpu/kernel_selection.h"

namespace lockstep::worker {
namespace {

TEST(IsaLevelTest, NamesParseBack) {
  for (const IsaLevel level : kAllIsaLevels) EXPECT_EQ(ParseIsaLevel(IsaLevelName(level)), level);
  EXPECT_EQ(ParseIsaLevel("mmx"), std::nullopt);
}

TEST(KernelContextTest, TheHighestLevelOfTheProcessorIsTheDefault) {
  auto context = KernelContext::Create({});
  ASSERT_TRUE(context.ok()) << context.status();
  EXPECT_EQ((*context)->isa_level(), DetectIsaLevel());
  EXPECT_TRUE((*context)->warnings().empty());
}

TEST(KernelContextTest, EveryAvailableLevelPassesItsSelfTest) {
  for (const IsaLevel level : AvailableIsaLevels())
    EXPECT_EQ(MakeContext(level)->isa_level(), level);
}

TEST(KernelContextTest, ALevelAboveTheProcessorsIsRefused) {
  if (DetectIsaLevel() == IsaLevel::kAmxBf16) GTEST_SKIP() << "this processor has every level";
  const auto context = KernelContext::Create({.num_threads = 1, .isa_level = IsaLevel::kAmxBf16});
  EXPECT_EQ(context.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(KernelContextTest, NoThreadsAreRefused) {
  EXPECT_EQ(KernelContext::Create({.num_threads = 0, .isa_level = std::nullopt}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(KernelContextTest, ScratchIsAlignedAndGrows) {
  auto context = MakeContext();
  for (const size_t size : {size_t{1}, size_t{1000}, size_t{1} << 20, size_t{64}}) {
    void* scratch = context->Scratch(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(scratch) % 64, 0u);
    std::memset(scratch, 1, size);
  }
}

// A kernel that forgets the last row.
void WrongMultiply(const cpu::PackedRows& rows, const cpu::PanelBlocks& panels,
                   const cpu::FetchAhead& ahead, bool accumulate, float* sums,
                   const cpu::TileDone& done) {
  cpu::GenericKernels().gemm[0].multiply(rows, panels, ahead, accumulate, sums, done);
  sums[(rows.num_rows - 1) * cpu::kPanelWidth + 3] += 1.0f;
}

TEST(CheckGemmTest, ReportsTheFirstWrongElement) {
  cpu::GemmKernel kernel = cpu::GenericKernels().gemm[0];
  EXPECT_EQ(cpu::CheckGemm(kernel, cpu::ElementType::kFloat32), "");
  kernel.multiply = WrongMultiply;
  EXPECT_NE(cpu::CheckGemm(kernel, cpu::ElementType::kFloat32).find("row 0 of 1, column 3"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep::worker
