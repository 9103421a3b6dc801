#include "worker/kernels/cpu/kernel_selection.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace lockstep::worker::cpu {
namespace {

constexpr const char* kTypeNames[] = {"float32", "float16", "bfloat16"};
constexpr int64_t kCheckDepth = 5 * kDepthMultiple;

constexpr int kBFloat16 = static_cast<int>(ElementType::kBFloat16);

KernelTable WithBFloat16(KernelTable table, const GemmKernel& gemm) {
  table.gemm[kBFloat16] = gemm;
  table.rows = Avx512Bf16Rows();
  return table;
}

KernelTable WithAmx(const KernelTable& base) {
  KernelTable table = WithBFloat16(base, AmxBf16Gemm());
  table.attention[kBFloat16] = AmxBf16Attention();
  return table;
}

// Small integers that follow no pattern of the tiles.
float CheckValue(int64_t index) { return static_cast<float>(index * 7919 % 1021 % 17 - 8); }

std::vector<char> CheckValues(ElementType type, int64_t num) {
  std::vector<char> bytes(static_cast<size_t>(num) * (type == ElementType::kFloat32 ? 4 : 2));
  for (int64_t i = 0; i < num; ++i) {
    const float value = CheckValue(i);
    if (type == ElementType::kFloat32) {
      std::memcpy(&bytes[static_cast<size_t>(4 * i)], &value, 4);
    } else if (type == ElementType::kFloat16) {
      const c10::Half half(value);
      std::memcpy(&bytes[static_cast<size_t>(2 * i)], &half.x, 2);
    } else {
      const c10::BFloat16 bfloat(value);
      std::memcpy(&bytes[static_cast<size_t>(2 * i)], &bfloat.x, 2);
    }
  }
  return bytes;
}

// x [at least num_rows, kCheckDepth] · num_panels of `panels`, the depth in two blocks:
// [num_panels, num_rows, kPanelWidth].
std::vector<float> MultiplyOnce(const GemmKernel& kernel, const std::vector<char>& x,
                                const std::vector<char>& panels, int num_panels, int num_rows) {
  const int64_t panel_bytes = static_cast<int64_t>(panels.size()) / kMaxPanels;
  const int64_t element_bytes = panel_bytes / (kCheckDepth * kPanelWidth);
  const int rows_per_tile =
      kernel.pads_rows ? kernel.max_rows : std::min(kernel.max_rows, num_rows);
  const int num_tiles = (num_rows + rows_per_tile - 1) / rows_per_tile;
  const int64_t sums_stride = int64_t{num_tiles} * rows_per_tile * kPanelWidth;
  std::vector<char> packed(static_cast<size_t>(num_tiles * rows_per_tile * kCheckDepth *
                                               kernel.packed_row_bytes_per_depth));
  std::vector<float> sums(static_cast<size_t>(num_panels * sums_stride), -1.0f);
  if (kernel.enter_thread != nullptr) kernel.enter_thread();
  for (const int64_t begin : {int64_t{0}, int64_t{kDepthMultiple}}) {
    const int64_t depth = begin == 0 ? kDepthMultiple : kCheckDepth - kDepthMultiple;
    const int64_t tile_bytes = rows_per_tile * kernel.packed_row_bytes_per_depth * depth;
    for (int tile = 0; tile < num_tiles; ++tile) {
      const int row = tile * rows_per_tile;
      kernel.pack_rows(x.data() + (row * kCheckDepth + begin) * element_bytes, kCheckDepth,
                       std::min(rows_per_tile, num_rows - row), depth, depth,
                       packed.data() + tile * tile_bytes);
    }
    PanelBlocks blocks = {.weights = {}, .num_panels = num_panels, .sums_stride = sums_stride};
    for (int panel = 0; panel < num_panels; ++panel) {
      blocks.weights[panel] =
          panels.data() + panel * panel_bytes + begin * kPanelWidth * element_bytes;
    }
    kernel.multiply({.tiles = packed.data(),
                     .tile_bytes = tile_bytes,
                     .num_rows = num_rows,
                     .rows_per_tile = rows_per_tile,
                     .depth = depth},
                    blocks, {}, begin > 0, sums.data(), {});
  }
  if (kernel.leave_thread != nullptr) kernel.leave_thread();
  for (int panel = 0; panel < num_panels; ++panel) {
    std::copy_n(sums.begin() + panel * sums_stride, num_rows * kPanelWidth,
                sums.begin() + panel * num_rows * kPanelWidth);
  }
  return sums;
}

// The first failure among the matrix kernels of `table`, or an empty string.
std::string CheckTable(const KernelTable& table) {
  for (int type = 0; type < kNumElementTypes; ++type) {
    const std::string failure = CheckGemm(table.gemm[type], static_cast<ElementType>(type));
    if (!failure.empty()) return absl::StrCat(kTypeNames[type], ": ", failure);
  }
  return "";
}

}  // namespace

std::string CheckGemm(const GemmKernel& kernel, ElementType weight_type) {
  const GemmKernel& reference = GenericKernels().gemm[static_cast<int>(weight_type)];
  const int max_rows = 2 * kernel.max_rows + 1;  // three tiles
  const std::vector<char> x = CheckValues(weight_type, max_rows * kCheckDepth);
  const std::vector<char> panels =
      CheckValues(weight_type, int64_t{kMaxPanels} * kPanelWidth * kCheckDepth);
  const std::vector<float> expected = MultiplyOnce(reference, x, panels, kMaxPanels, max_rows);
  for (int num_panels = 1; num_panels <= kMaxPanels; ++num_panels) {
    for (int num_rows = 1; num_rows <= max_rows; ++num_rows) {
      if (num_rows > kernel.max_rows + 1 && num_rows < max_rows) continue;
      const std::vector<float> actual = MultiplyOnce(kernel, x, panels, num_panels, num_rows);
      for (int i = 0; i < num_panels * num_rows * kPanelWidth; ++i) {
        const int column = i % kPanelWidth, row = i / kPanelWidth % num_rows,
                  panel = i / kPanelWidth / num_rows;
        const float
            got = actual[static_cast<size_t>(i)],
            want = expected[static_cast<size_t>((panel * max_rows + row) * kPanelWidth + column)];
        if (got == want) continue;
        return absl::StrCat("row ", row, " of ", num_rows, ", column ", column, " of panel ", panel,
                            " of ", num_panels, " is ", got, ", expected ", want);
      }
    }
  }
  return "";
}

const KernelTable& KernelsOf(IsaLevel level) {
  static const KernelTable kAvx512Bf16 = WithBFloat16(Avx512Kernels(), Avx512Bf16Gemm());
  static const KernelTable kAmxBf16 = WithAmx(Avx512Kernels());
  switch (level) {
    case IsaLevel::kGeneric:
      return GenericKernels();
    case IsaLevel::kAvx2:
      return Avx2Kernels();
    case IsaLevel::kAvx512:
      return Avx512Kernels();
    case IsaLevel::kAvx512Bf16:
      return kAvx512Bf16;
    case IsaLevel::kAmxBf16:
      return kAmxBf16;
  }
  return GenericKernels();
}

KernelSelection SelectKernels(IsaLevel level) {
  KernelSelection selection{level, nullptr, {}};
  for (int candidate = static_cast<int>(level); candidate > 0; --candidate) {
    selection.isa_level = static_cast<IsaLevel>(candidate);
    selection.kernels = &KernelsOf(selection.isa_level);
    const std::string failure = CheckTable(*selection.kernels);
    if (failure.empty()) return selection;
    selection.warnings.push_back(absl::StrCat("the ",
                                              std::string(IsaLevelName(selection.isa_level)),
                                              " kernels compute wrong products on this processor (",
                                              failure, "); using the next instruction set below"));
  }
  selection.isa_level = IsaLevel::kGeneric;
  selection.kernels = &GenericKernels();
  return selection;
}

}  // namespace lockstep::worker::cpu
