#include "worker/kernels/cpu/gemm_driver.h"

#include <algorithm>

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

// Consecutive rows that are packed at once.
struct Pass {
  const GemmKernel* kernel = nullptr;
  int64_t first_row = 0;
  int64_t num_rows = 0;
  // Rows per tile but the last. Tiles are even, because one of few rows leaves the vector units
  // waiting.
  int64_t rows_per_tile = 1;
  char* packed = nullptr;

  int64_t num_tiles() const { return (num_rows + rows_per_tile - 1) / rows_per_tile; }
  // Of whole tiles: sums have room for them, also where the last tile has fewer rows.
  int64_t rows_of_tiles() const { return num_tiles() * rows_per_tile; }
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
    return RoundUp(rows_of_tiles() * kernel->packed_row_bytes_per_depth * padded_depth, kAlignment);
  }
};

int64_t DivideUp(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

int64_t NumPasses(const GemmProblem& problem) { return DivideUp(problem.num_rows, kMaxPassRows); }

// Passes are even.
Pass MakePass(const GemmKernel& kernel, const GemmProblem& problem, int64_t index) {
  const int64_t rows = DivideUp(problem.num_rows, NumPasses(problem));
  const int64_t begin = std::min(index * rows, problem.num_rows);
  Pass pass{
      .kernel = &kernel, .first_row = begin, .num_rows = std::min(rows, problem.num_rows - begin)};
  const int64_t num_tiles = DivideUp(rows, kernel.max_rows);
  pass.rows_per_tile = kernel.pads_rows ? kernel.max_rows : DivideUp(rows, num_tiles);
  return pass;
}

void PackRows(ThreadPool& pool, const GemmProblem& problem, const Pass& pass) {
  const int64_t x_bytes = ElementBytes(problem.weight_type);
  pool.ParallelFor(pass.num_tiles(), [&](int, int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t row = pass.first_row + tile * pass.rows_per_tile;
      pass.kernel->pack_rows(static_cast<const char*>(problem.x) + row * problem.x_stride * x_bytes,
                             problem.x_stride, pass.tile_rows(tile), problem.depth,
                             problem.padded_depth, pass.tile(tile, problem.padded_depth));
    }
  });
}

// How the tiles of a pass meet the panels.
struct Blocking {
  int64_t depth;         // of a block
  int64_t group_panels;  // whose blocks of one depth follow each other
  int64_t run_tiles;     // whose rows of one block stay in the cache
};

Blocking BlockingOf(const GemmProblem& problem, const Pass& pass) {
  const GemmKernel& kernel = *pass.kernel;
  const int64_t num_tiles = pass.num_tiles();
  Blocking blocking{problem.padded_depth, 1, num_tiles};
  if (num_tiles == 1) return blocking;
  blocking.depth =
      std::min(problem.padded_depth,
               kernel.panel_block_bytes / (kPanelWidth * ElementBytes(problem.weight_type)));
  if (blocking.depth < problem.padded_depth) blocking.group_panels = kGroupPanels;
  if (kernel.resident_rows_bytes > 0) {
    const int64_t tile_bytes = blocking.depth * pass.tile_depth_bytes(0);
    const int64_t most = std::max<int64_t>(1, kernel.resident_rows_bytes / tile_bytes);
    blocking.run_tiles = DivideUp(num_tiles, DivideUp(num_tiles, most));
  }
  return blocking;
}

// Some tiles of a pass and some panels, whose product is `sums`: rows of one panel after the
// other's.
struct Run {
  int64_t first_tile, last_tile;
  int64_t first_panel, last_panel;
  float* sums;

  int64_t panel_floats(const Pass& pass) const {
    return (last_tile - first_tile) * pass.rows_per_tile * kPanelWidth;
  }
};

void MultiplyRun(const GemmProblem& problem, const Pass& pass, const Run& run,
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
        pass.kernel->multiply(
            pass.tile(tile, problem.padded_depth) + depth * pass.tile_depth_bytes(tile),
            pass.tile_rows(tile), num, weights_at(panel, depth),
            {weights_at(last ? panel : panel + 1, depth) + index * ahead_bytes, ahead_bytes},
            depth > 0,
            run.sums + (panel - run.first_panel) * run.panel_floats(pass) +
                index * pass.rows_per_tile * kPanelWidth);
      }
    }
  }
}

void StoreRun(const KernelTable& kernels, const GemmProblem& problem, const Pass& pass,
              const Run& run) {
  const int64_t row = run.first_tile * pass.rows_per_tile;
  const int64_t num_rows = std::min(run.last_tile * pass.rows_per_tile, pass.num_rows) - row;
  for (int64_t panel = run.first_panel; panel < run.last_panel; ++panel) {
    const int64_t column = panel * kPanelWidth;
    char* out =
        static_cast<char*>(problem.out) +
        ((pass.first_row + row) * problem.out_stride + column) * ElementBytes(problem.out_type);
    kernels.store_panel(run.sums + (panel - run.first_panel) * run.panel_floats(pass), num_rows,
                        problem.bias == nullptr ? nullptr : problem.bias + column,
                        std::min<int64_t>(kPanelWidth, problem.num_columns - column),
                        problem.out_type, out, problem.out_stride);
  }
}

// The product of a pass with panels [first_panel, last_panel).
void MultiplyPanels(const KernelTable& kernels, const GemmProblem& problem, const Pass& pass,
                    int64_t first_panel, int64_t last_panel, float* sums) {
  const Blocking blocking = BlockingOf(problem, pass);
  if (pass.kernel->enter_thread != nullptr) pass.kernel->enter_thread();
  for (int64_t tile = 0; tile < pass.num_tiles(); tile += blocking.run_tiles) {
    const int64_t last_tile = std::min(tile + blocking.run_tiles, pass.num_tiles());
    for (int64_t panel = first_panel; panel < last_panel; panel += blocking.group_panels) {
      const Run run{tile, last_tile, panel, std::min(panel + blocking.group_panels, last_panel),
                    sums};
      MultiplyRun(problem, pass, run, blocking.depth);
      StoreRun(kernels, problem, pass, run);
    }
  }
  if (pass.kernel->leave_thread != nullptr) pass.kernel->leave_thread();
}

void RunPass(KernelContext& context, const GemmProblem& problem, Pass& pass) {
  const int64_t packed_bytes = pass.packed_bytes(problem.padded_depth);
  const int64_t accumulator_floats = pass.rows_of_tiles() * kPanelWidth * kGroupPanels;
  char* scratch = static_cast<char*>(context.Scratch(
      static_cast<size_t>(packed_bytes + context.pool().num_threads() * accumulator_floats *
                                             static_cast<int64_t>(sizeof(float)))));
  pass.packed = scratch;
  float* accumulators = reinterpret_cast<float*>(scratch + packed_bytes);
  PackRows(context.pool(), problem, pass);

  const int64_t num_panels = (problem.num_columns + kPanelWidth - 1) / kPanelWidth;
  context.pool().ParallelFor(num_panels, [&](int thread, int64_t begin, int64_t end) {
    float* sums = accumulators + thread * accumulator_floats;
    for (int64_t panel = begin; panel < end; panel += kChunkPanels) {
      MultiplyPanels(context.cpu_kernels(), problem, pass, panel,
                     std::min(panel + kChunkPanels, end), sums);
    }
  });
}

}  // namespace

void RunGemm(KernelContext& context, const GemmProblem& problem) {
  const GemmKernel& kernel = context.cpu_kernels().gemm[static_cast<int>(problem.weight_type)];
  for (int64_t index = 0; index < NumPasses(problem); ++index) {
    Pass pass = MakePass(kernel, problem, index);
    RunPass(context, problem, pass);
  }
}

}  // namespace lockstep::worker::cpu
