#ifndef LOCKSTEP_WORKER_KERNELS_CPU_ELEMENT_TYPES_H_
#define LOCKSTEP_WORKER_KERNELS_CPU_ELEMENT_TYPES_H_

#include <cstdint>

// Included by the files that are compiled for one instruction set each: no functions here, because
// an inline function that such a file emits may be the copy that the linker keeps for the whole
// program.
namespace lockstep::worker::cpu {

enum class ElementType : int { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };
inline constexpr int kNumElementTypes = 3;

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// Output features per panel of a packed weight matrix (see packed_layout.h).
inline constexpr int kPanelWidth = 32;
// Input features (the depth of a product) are processed in multiples of this; bfloat16 weights are
// padded to it.
inline constexpr int kDepthMultiple = 32;
// Keys per attention tile, counted from position 0 of the sequence.
inline constexpr int kKeyTile = 64;
inline constexpr int kMaxHeadDim = 256;
inline constexpr int64_t kCacheLineBytes = 64;

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_WORKER_KERNELS_CPU_ELEMENT_TYPES_H_
