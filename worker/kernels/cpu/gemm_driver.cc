#include "worker/kernels/cpu/gemm_driver.h"

#include <algorithm>
#include <array>

namespace lockstep::worker::cpu {
namespace {

// Rows of x that are multiplied in one pass over the weight: their packed form streams from the
// third-level cache, and a pass over the weight is paid for by this many rows.
constexpr int64_t kMaxPassRows = 512;
// Bytes of a panel that stay in the first-level cache while the tiles of rows pass by.
constexpr int64_t kPanelBlockBytes = 32 * 1024;
// Panels per group: each slice of packed rows that is read serves this many panels.
constexpr int64_t kGroupPanels = 4;
constexpr int64_t kAlignment = 64;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t ElementBytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

// Consecutive rows of one pass that use the same kernel.
struct Segment {
  const GemmKernel* kernel = nullptr;
  int64_t first_row = 0;
  int64_t num_rows = 0;
  // Rows per tile but the last. Tiles are even, because one of few rows leaves the vector units
  // waiting.
  int64_t rows_per_tile = 1;
  char* packed = nullptr;

  int64_t num_tiles() const { return (num_rows + rows_per_tile - 1) / rows_per_tile; }
  int64_t padded_rows() const { return kernel->pads_rows ? num_tiles() * rows_per_tile : num_rows; }
  int tile_rows(int64_t tile) const {
    return static_cast<int>(std::min(rows_per_tile, num_rows - tile * rows_per_tile));
  }
  // Bytes per unit of depth of a packed tile.
  int64_t tile_depth_bytes(int64_t tile) const {
    return int64_t{kernel->packed_row_bytes_per_depth} *
           (kernel->pads_rows ? rows_per_tile : tile_rows(tile));
  }
  char* tile(int64_t index, int64_t padded_depth) const {
    return packed + index * rows_per_tile * kernel->packed_row_bytes_per_depth * padded_depth;
  }
  int64_t packed_bytes(int64_t padded_depth) const {
    return RoundUp(padded_rows() * kernel->packed_row_bytes_per_depth * padded_depth, kAlignment);
  }
};

using Segments = std::array<Segment, 2>;  // decode rows, other rows; either may be empty

int64_t DivideUp(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// Splits [first, first + num_rows) evenly into passes of at most kMaxPassRows and returns the part
// of `pass`.
Segment SliceForPass(const GemmKernel& kernel, int64_t first, int64_t num_rows, int64_t pass) {
  Segment segment{.kernel = &kernel};
  if (num_rows == 0) return segment;
  const int64_t rows = DivideUp(num_rows, DivideUp(num_rows, kMaxPassRows));
  const int64_t begin = std::min(pass * rows, num_rows);
  segment.first_row = first + begin;
  segment.num_rows = std::min(rows, num_rows - begin);
  const int64_t num_tiles = DivideUp(rows, kernel.max_rows);
  segment.rows_per_tile = kernel.pads_rows ? kernel.max_rows : DivideUp(rows, num_tiles);
  return segment;
}

void PackSegments(ThreadPool& pool, const GemmProblem& problem, const Segments& segments) {
  const int64_t decode_tiles = segments[0].num_tiles();
  const int64_t x_bytes = ElementBytes(problem.weight_type);
  pool.ParallelFor(decode_tiles + segments[1].num_tiles(), [&](int, int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const bool decode = index < decode_tiles;
      const Segment& segment = decode ? segments[0] : segments[1];
      const int64_t tile = decode ? index : index - decode_tiles;
      const int64_t row = segment.first_row + tile * segment.rows_per_tile;
      segment.kernel->pack_rows(
          static_cast<const char*>(problem.x) + row * problem.x_stride * x_bytes, problem.x_stride,
          segment.tile_rows(tile), problem.depth, problem.padded_depth,
          segment.tile(tile, problem.padded_depth));
    }
  });
}

// The product of one segment with panels [first_panel, last_panel). `accumulators` holds
// padded_rows() rows per panel.
void MultiplyGroup(const GemmProblem& problem, const Segment& segment, int64_t first_panel,
                   int64_t last_panel, float* accumulators) {
  const GemmKernel& kernel = *segment.kernel;
  const int64_t panel_depth_bytes = kPanelWidth * ElementBytes(problem.weight_type);
  const int64_t panel_bytes = problem.padded_depth * panel_depth_bytes;
  const int64_t panel_floats = segment.padded_rows() * kPanelWidth;
  const int64_t num_tiles = segment.num_tiles();
  const int64_t block =
      num_tiles == 1 ? problem.padded_depth : kPanelBlockBytes / panel_depth_bytes;
  for (int64_t depth = 0; depth < problem.padded_depth; depth += block) {
    const int64_t num = std::min(block, problem.padded_depth - depth);
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      const char* weights = static_cast<const char*>(problem.weight) + panel * panel_bytes +
                            depth * panel_depth_bytes;
      float* sums = accumulators + (panel - first_panel) * panel_floats;
      for (int64_t tile = 0; tile < num_tiles; ++tile) {
        kernel.multiply(
            segment.tile(tile, problem.padded_depth) + depth * segment.tile_depth_bytes(tile),
            segment.tile_rows(tile), num, weights, depth > 0,
            sums + tile * segment.rows_per_tile * kPanelWidth);
      }
    }
  }
}

void StoreGroup(const KernelTable& kernels, const GemmProblem& problem, const Segment& segment,
                int64_t first_panel, int64_t last_panel, const float* accumulators) {
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    const int64_t column = panel * kPanelWidth;
    char* out = static_cast<char*>(problem.out) +
                (segment.first_row * problem.out_stride + column) * ElementBytes(problem.out_type);
    kernels.store_panel(accumulators + (panel - first_panel) * segment.padded_rows() * kPanelWidth,
                        segment.num_rows, problem.bias == nullptr ? nullptr : problem.bias + column,
                        std::min<int64_t>(kPanelWidth, problem.num_columns - column),
                        problem.out_type, out, problem.out_stride);
  }
}

void RunPass(KernelContext& context, const GemmProblem& problem, Segments& segments) {
  const int64_t packed_bytes = segments[0].packed_bytes(problem.padded_depth) +
                               segments[1].packed_bytes(problem.padded_depth);
  const int64_t accumulator_floats =
      std::max(segments[0].padded_rows(), segments[1].padded_rows()) * kPanelWidth * kGroupPanels;
  char* scratch = static_cast<char*>(context.Scratch(
      static_cast<size_t>(packed_bytes + context.pool().num_threads() * accumulator_floats *
                                             static_cast<int64_t>(sizeof(float)))));
  segments[0].packed = scratch;
  segments[1].packed = scratch + segments[0].packed_bytes(problem.padded_depth);
  float* accumulators = reinterpret_cast<float*>(scratch + packed_bytes);
  PackSegments(context.pool(), problem, segments);

  const int64_t num_panels = (problem.num_columns + kPanelWidth - 1) / kPanelWidth;
  context.pool().ParallelFor(num_panels, [&](int thread, int64_t begin, int64_t end) {
    float* sums = accumulators + thread * accumulator_floats;
    for (int64_t panel = begin; panel < end; panel += kGroupPanels) {
      const int64_t last = std::min(panel + kGroupPanels, end);
      for (const Segment& segment : segments) {
        if (segment.num_rows == 0) continue;
        if (segment.kernel->enter_thread != nullptr) segment.kernel->enter_thread();
        MultiplyGroup(problem, segment, panel, last, sums);
        if (segment.kernel->leave_thread != nullptr) segment.kernel->leave_thread();
        StoreGroup(context.cpu_kernels(), problem, segment, panel, last, sums);
      }
    }
  });
}

}  // namespace

void RunGemm(KernelContext& context, const GemmProblem& problem) {
  const GemmKernel& prefill =
      context.cpu_kernels().prefill_gemm[static_cast<int>(problem.weight_type)];
  const GemmKernel& decode =
      context.cpu_kernels().decode_gemm[static_cast<int>(problem.weight_type)];
  const int64_t num_decode = decode.multiply == prefill.multiply ? 0 : problem.num_decode_rows;
  const int64_t num_other = problem.num_rows - num_decode;
  const int64_t num_passes = (std::max(num_decode, num_other) + kMaxPassRows - 1) / kMaxPassRows;
  for (int64_t pass = 0; pass < num_passes; ++pass) {
    Segments segments = {SliceForPass(decode, 0, num_decode, pass),
                         SliceForPass(prefill, num_decode, num_other, pass)};
    RunPass(context, problem, segments);
  }
}

}  // namespace lockstep::worker::cpu
