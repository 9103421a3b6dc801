#ifndef LOCKSTEP_WORKER_KERNELS_CPU_PACKED_LAYOUT_H_
#define LOCKSTEP_WORKER_KERNELS_CPU_PACKED_LAYOUT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/kernels/cpu/element_types.h"

// The layout of a weight [out_features, in_features] on the CPU: panels of kPanelWidth output
// features, each with its input features outermost, so that a product reads it once and in order:
//
//   float32, float16  [num_panels, in_features, kPanelWidth]
//   bfloat16          [num_panels, padded in_features / 2, kPanelWidth, 2]: pairs of input
//   features, as the dot
//                     product instructions take them; also two AMX tiles side by side
//
// Output features are padded with zeros to whole panels, bfloat16's input features to
// kDepthMultiple.
namespace lockstep::worker::cpu {

inline int64_t NumPanels(int64_t out_features) {
  return (out_features + kPanelWidth - 1) / kPanelWidth;
}

inline int64_t PaddedDepth(int64_t in_features, at::ScalarType dtype) {
  if (dtype != at::kBFloat16) return in_features;
  return (in_features + kDepthMultiple - 1) / kDepthMultiple * kDepthMultiple;
}

// The element of (output feature, input feature) of a packed bfloat16 matrix is at
// PanelOffset + (input / 2) * 2 * kPanelWidth + 2 * (output % kPanelWidth) + input % 2, and of
// others at PanelOffset + input * kPanelWidth + output % kPanelWidth.
inline int64_t PanelOffset(int64_t out_feature, int64_t padded_depth) {
  return out_feature / kPanelWidth * padded_depth * kPanelWidth;
}

inline ElementType ElementTypeOf(at::ScalarType dtype) {
  return dtype == at::kFloat  ? ElementType::kFloat32
         : dtype == at::kHalf ? ElementType::kFloat16
                              : ElementType::kBFloat16;
}

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_WORKER_KERNELS_CPU_PACKED_LAYOUT_H_
