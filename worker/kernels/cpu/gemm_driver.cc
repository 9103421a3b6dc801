#include "worker/kernels/cpu/gemm_driver.h"

#include <algorithm>
#include <array>

namespace lockstep::worker::cpu {
namespace {

// Rows of x that are packed at once and multiplied in one pass over the weight in memory.
constexpr int64_t kMaxPassRows = 512;
// Panels that are taken from memory once: where the rows of a pass are multiplied in several runs,
// the later ones find them in the third-level cache.
constexpr int64_t kChunkPanels = 64;
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

// How the tiles of a segment pass by the panels.
struct Blocking {
  int64_t depth;         // of a block
  int64_t group_panels;  // whose blocks of one depth follow each other
  int64_t run_tiles;     // whose rows of one block stay in the cache
};

Blocking BlockingOf(const GemmProblem& problem, const Segment& segment) {
  const GemmKernel& kernel = *segment.kernel;
  const int64_t num_tiles = segment.num_tiles();
  Blocking blocking{problem.padded_depth, 1, num_tiles};
  if (num_tiles == 1) return blocking;
  blocking.depth =
      std::min(problem.padded_depth,
               kernel.panel_block_bytes / (kPanelWidth * ElementBytes(problem.weight_type)));
  if (blocking.depth < problem.padded_depth) blocking.group_panels = kGroupPanels;
  if (kernel.resident_rows_bytes > 0) {
    const int64_t tile_bytes = blocking.depth * segment.tile_depth_bytes(0);
    const int64_t most = std::max<int64_t>(1, kernel.resident_rows_bytes / tile_bytes);
    blocking.run_tiles = DivideUp(num_tiles, DivideUp(num_tiles, most));
  }
  return blocking;
}

// Some tiles of a segment and some panels, whose product is `sums`: rows of one panel after the
// other's.
struct Run {
  int64_t first_tile, last_tile;
  int64_t first_panel, last_panel;
  float* sums;

  int64_t panel_floats(const Segment& segment) const {
    return (last_tile - first_tile) * segment.rows_per_tile * kPanelWidth;
  }
};

void MultiplyRun(const GemmProblem& problem, const Segment& segment, const Run& run,
                 int64_t depth_block) {
  const int64_t panel_depth_bytes = kPanelWidth * ElementBytes(problem.weight_type);
  const auto weights_at = [&](int64_t panel, int64_t depth) {
    return static_cast<const char*>(problem.weight) +
           (panel * problem.padded_depth + depth) * panel_depth_bytes;
  };
  const int64_t num_tiles = run.last_tile - run.first_tile;
  for (int64_t depth = 0; depth < problem.padded_depth; depth += depth_block) {
    const int64_t num = std::min(depth_block, problem.padded_depth - depth);
    for (int64_t panel = run.first_panel; panel < run.last_panel; ++panel) {
      // Each tile's product fetches its part of the same block of the panel after this one.
      const bool last = (panel + 1) * kPanelWidth >= problem.num_columns;
      const int64_t ahead_bytes = last ? 0 : num * panel_depth_bytes / num_tiles;
      for (int64_t tile = run.first_tile; tile < run.last_tile; ++tile) {
        const int64_t index = tile - run.first_tile;
        segment.kernel->multiply(
            segment.tile(tile, problem.padded_depth) + depth * segment.tile_depth_bytes(tile),
            segment.tile_rows(tile), num, weights_at(panel, depth),
            {weights_at(last ? panel : panel + 1, depth) + index * ahead_bytes, ahead_bytes},
            depth > 0,
            run.sums + (panel - run.first_panel) * run.panel_floats(segment) +
                index * segment.rows_per_tile * kPanelWidth);
      }
    }
  }
}

void StoreRun(const KernelTable& kernels, const GemmProblem& problem, const Segment& segment,
              const Run& run) {
  const int64_t row = run.first_tile * segment.rows_per_tile;
  const int64_t num_rows = std::min(run.last_tile * segment.rows_per_tile, segment.num_rows) - row;
  for (int64_t panel = run.first_panel; panel < run.last_panel; ++panel) {
    const int64_t column = panel * kPanelWidth;
    char* out =
        static_cast<char*>(problem.out) +
        ((segment.first_row + row) * problem.out_stride + column) * ElementBytes(problem.out_type);
    kernels.store_panel(run.sums + (panel - run.first_panel) * run.panel_floats(segment), num_rows,
                        problem.bias == nullptr ? nullptr : problem.bias + column,
                        std::min<int64_t>(kPanelWidth, problem.num_columns - column),
                        problem.out_type, out, problem.out_stride);
  }
}

// The product of one segment with panels [first_panel, last_panel).
void MultiplySegment(const KernelTable& kernels, const GemmProblem& problem, const Segment& segment,
                     int64_t first_panel, int64_t last_panel, float* sums) {
  const Blocking blocking = BlockingOf(problem, segment);
  if (segment.kernel->enter_thread != nullptr) segment.kernel->enter_thread();
  for (int64_t tile = 0; tile < segment.num_tiles(); tile += blocking.run_tiles) {
    const int64_t last_tile = std::min(tile + blocking.run_tiles, segment.num_tiles());
    for (int64_t panel = first_panel; panel < last_panel; panel += blocking.group_panels) {
      const Run run{tile, last_tile, panel, std::min(panel + blocking.group_panels, last_panel),
                    sums};
      MultiplyRun(problem, segment, run, blocking.depth);
      StoreRun(kernels, problem, segment, run);
    }
  }
  if (segment.kernel->leave_thread != nullptr) segment.kernel->leave_thread();
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
    for (int64_t panel = begin; panel < end; panel += kChunkPanels) {
      for (const Segment& segment : segments) {
        if (segment.num_rows == 0) continue;
        MultiplySegment(context.cpu_kernels(), problem, segment, panel,
                        std::min(panel + kChunkPanels, end), sums);
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
