#include "worker/kernels/cpu/linear_weight.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "worker/kernels/cpu/packed_layout.h"
#include "worker/kernels/huge_tensor.h"

namespace lockstep::worker::cpu {
namespace {

// Units (a pair of bfloat16, or one element) of a row that are transposed at a time: one panel's
// worth stays in L1.
constexpr int64_t kTransposeUnits = 64;

// Converts `num` elements at `src`, which need not be aligned.
template <typename To, typename From>
void ConvertElements(const char* src, int64_t num, To* out) {
  if constexpr (std::is_same_v<To, From>) {
    std::memcpy(out, src, static_cast<size_t>(num) * sizeof(To));
  } else {
    for (int64_t i = 0; i < num; ++i) {
      From value;
      std::memcpy(&value, src + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
      out[i] = static_cast<To>(static_cast<float>(value));
    }
  }
}

// Unit: what lies side by side for one output feature, an element or a pair of bfloat16.
template <typename To, typename From, typename Unit>
void PackRowsAs(To* packed, int64_t in_features, int64_t padded_depth, int64_t first_row,
                int64_t num_rows, const char* src, int64_t src_row_bytes) {
  constexpr int64_t kPerUnit = sizeof(Unit) / sizeof(To);
  const int64_t last_row = first_row + num_rows;
  for (int64_t panel_row = first_row / kPanelWidth * kPanelWidth; panel_row < last_row;
       panel_row += kPanelWidth) {
    char* panel = reinterpret_cast<char*>(packed + PanelOffset(panel_row, padded_depth));
    const int64_t row_begin = std::max(panel_row, first_row),
                  row_end = std::min(panel_row + kPanelWidth, last_row);
    for (int64_t k = 0; k < in_features; k += kTransposeUnits * kPerUnit) {
      const int64_t num = std::min(kTransposeUnits * kPerUnit, in_features - k);
      const int64_t num_units = (num + kPerUnit - 1) / kPerUnit;
      for (int64_t row = row_begin; row < row_end; ++row) {
        alignas(64) To values[kTransposeUnits * kPerUnit];
        ConvertElements<To, From>(
            src + (row - first_row) * src_row_bytes + k * static_cast<int64_t>(sizeof(From)), num,
            values);
        if (num % kPerUnit != 0) values[num] = To(0.0f);
        char* out = panel + (k / kPerUnit * kPanelWidth + row - panel_row) *
                                static_cast<int64_t>(sizeof(Unit));
        for (int64_t unit = 0; unit < num_units; ++unit) {
          std::memcpy(out + unit * kPanelWidth * static_cast<int64_t>(sizeof(Unit)),
                      values + unit * kPerUnit, sizeof(Unit));
        }
      }
    }
  }
}

template <typename To, typename Unit>
void PackRowsTo(at::Tensor& packed, int64_t in_features, int64_t first_row, int64_t num_rows,
                const void* src, at::ScalarType src_dtype, int64_t src_row_stride) {
  const int64_t padded_depth = PaddedDepth(in_features, packed.scalar_type());
  const char* bytes = static_cast<const char*>(src);
  To* out = static_cast<To*>(packed.data_ptr());
  const int64_t row_bytes = src_row_stride * static_cast<int64_t>(c10::elementSize(src_dtype));
  switch (src_dtype) {
    case at::kFloat:
      return PackRowsAs<To, float, Unit>(out, in_features, padded_depth, first_row, num_rows, bytes,
                                         row_bytes);
    case at::kHalf:
      return PackRowsAs<To, at::Half, Unit>(out, in_features, padded_depth, first_row, num_rows,
                                            bytes, row_bytes);
    case at::kBFloat16:
      return PackRowsAs<To, at::BFloat16, Unit>(out, in_features, padded_depth, first_row, num_rows,
                                                bytes, row_bytes);
    default:
      TORCH_CHECK(false, "weights of type ", src_dtype,
                  " cannot be loaded: expected float32, float16 or bfloat16");
  }
}

template <typename T, typename Out>
void UnpackRowAs(const T* panel, int64_t in_features, int64_t lane, Out* out) {
  if constexpr (std::is_same_v<T, at::BFloat16>) {
    for (int64_t k = 0; k < in_features; ++k) {
      out[k] = static_cast<Out>(panel[k / 2 * 2 * kPanelWidth + 2 * lane + k % 2]);
    }
  } else {
    for (int64_t k = 0; k < in_features; ++k)
      out[k] = static_cast<Out>(panel[k * kPanelWidth + lane]);
  }
}

template <typename T>
void UnpackRowFrom(const at::Tensor& packed, int64_t in_features, int64_t row,
                   at::ScalarType out_dtype, void* out) {
  const T* panel = static_cast<const T*>(packed.const_data_ptr()) +
                   PanelOffset(row, PaddedDepth(in_features, packed.scalar_type()));
  if (out_dtype == at::kFloat) {
    UnpackRowAs(panel, in_features, row % kPanelWidth, static_cast<float*>(out));
  } else {
    UnpackRowAs(panel, in_features, row % kPanelWidth, static_cast<T*>(out));
  }
}

}  // namespace

at::Tensor AllocatePackedWeight(int64_t out_features, int64_t in_features, at::ScalarType dtype) {
  return ZerosInHugePages({NumPanels(out_features), PaddedDepth(in_features, dtype), kPanelWidth},
                          dtype);
}

void PackWeightRows(at::Tensor& packed, int64_t in_features, int64_t first_row, int64_t num_rows,
                    const void* src, at::ScalarType src_dtype, int64_t src_row_stride) {
  switch (packed.scalar_type()) {
    case at::kFloat:
      return PackRowsTo<float, uint32_t>(packed, in_features, first_row, num_rows, src, src_dtype,
                                         src_row_stride);
    case at::kHalf:
      return PackRowsTo<at::Half, uint16_t>(packed, in_features, first_row, num_rows, src,
                                            src_dtype, src_row_stride);
    default:
      return PackRowsTo<at::BFloat16, uint32_t>(packed, in_features, first_row, num_rows, src,
                                                src_dtype, src_row_stride);
  }
}

void UnpackWeightRow(const at::Tensor& packed, int64_t in_features, int64_t row,
                     at::ScalarType out_dtype, void* out) {
  switch (packed.scalar_type()) {
    case at::kFloat:
      return UnpackRowFrom<float>(packed, in_features, row, out_dtype, out);
    case at::kHalf:
      return UnpackRowFrom<at::Half>(packed, in_features, row, out_dtype, out);
    default:
      return UnpackRowFrom<at::BFloat16>(packed, in_features, row, out_dtype, out);
  }
}

}  // namespace lockstep::worker::cpu
