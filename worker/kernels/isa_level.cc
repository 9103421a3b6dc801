#include "worker/kernels/isa_level.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace lockstep::worker {
namespace {

// State components that the operating system saves (XCR0). Only where CPUID says OSXSAVE.
uint64_t ReadXcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// AMX's registers are off until a process asks for them (Linux 5.16 and later).
bool RequestTileRegisters() {
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kTileDataComponent = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileDataComponent) == 0;
}

bool HasAmxBf16() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  constexpr uint64_t kTileState = (1u << 17) | (1u << 18);
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  return (ReadXcr0() & kTileState) == kTileState && RequestTileRegisters();
}

}  // namespace

std::string_view IsaLevelName(IsaLevel level) {
  switch (level) {
    case IsaLevel::kGeneric:
      return "generic";
    case IsaLevel::kAvx2:
      return "avx2";
    case IsaLevel::kAvx512:
      return "avx512";
    case IsaLevel::kAvx512Bf16:
      return "avx512_bf16";
    case IsaLevel::kAmxBf16:
      return "amx_bf16";
  }
  return "unknown";
}

std::optional<IsaLevel> ParseIsaLevel(std::string_view name) {
  for (const IsaLevel level : kAllIsaLevels) {
    if (IsaLevelName(level) == name) return level;
  }
  return std::nullopt;
}

IsaLevel DetectIsaLevel() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c")) {
    return IsaLevel::kGeneric;
  }
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return IsaLevel::kAvx2;
  }
  if (!__builtin_cpu_supports("avx512bf16")) return IsaLevel::kAvx512;
  return HasAmxBf16() ? IsaLevel::kAmxBf16 : IsaLevel::kAvx512Bf16;
}

}  // namespace lockstep::worker
