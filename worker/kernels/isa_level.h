#ifndef LOCKSTEP_WORKER_KERNELS_ISA_LEVEL_H_
#define LOCKSTEP_WORKER_KERNELS_ISA_LEVEL_H_

#include <optional>
#include <string_view>

namespace lockstep::worker {

// The x86-64 instruction sets that the CPU kernels are built for, each including those before it.
enum class IsaLevel {
  kGeneric,     // the x86-64 baseline (SSE2)
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL
  kAvx512Bf16,  // AVX-512 BF16 dot products
  kAmxBf16,     // AMX BF16 tiles
};

inline constexpr IsaLevel kAllIsaLevels[] = {IsaLevel::kGeneric, IsaLevel::kAvx2, IsaLevel::kAvx512,
                                             IsaLevel::kAvx512Bf16, IsaLevel::kAmxBf16};

// "generic", "avx2", "avx512", "avx512_bf16", "amx_bf16".
std::string_view IsaLevelName(IsaLevel level);
std::optional<IsaLevel> ParseIsaLevel(std::string_view name);

// The highest level that this processor and operating system offer. Asks Linux for the use of AMX's
// tile registers where the processor has them (arch_prctl), which a container may refuse: then the
// level below is returned.
IsaLevel DetectIsaLevel();

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_ISA_LEVEL_H_
