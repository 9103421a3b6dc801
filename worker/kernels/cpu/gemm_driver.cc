#include "worker/kernels/cpu/gemm_driver.h"

#include <immintrin.h>

#include <algorithm>

namespace lockstep::worker::cpu {
namespace {

// Rows of x that are packed at once and multiplied in one pass over the weight in memory.
constexpr int64_t kMaxPassRows = 512;
// Panels per group of units: a slice of packed rows that comes from the third-level cache serves
// this many, whose sums stay in the second-level cache meanwhile.
constexpr int64_t kGroupPanels = 8;
// With one tile all waits for the weights, which come fastest in the order in which they lie in
// memory. So much of a panel, and what is fetched meanwhile, stays in the second-level cache.
constexpr int64_t kStreamedBlockBytes = 128 * 1024;
constexpr int64_t kAlignment = 64;
// Of results that have left the caches before anybody reads them: a prompt's logits.
constexpr int64_t kMinBytesPastCaches = int64_t{32} << 20;

int64_t DivideUp(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

int64_t RoundUp(int64_t value, int64_t multiple) { return DivideUp(value, multiple) * multiple; }

int64_t ElementBytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

// Consecutive rows that are packed at once: [depth blocks, tiles, depth of the block], a tile's
// rows as its kernel wants them.
struct Pass {
  const GemmKernel* kernel = nullptr;
  int64_t first_row = 0;
  int64_t num_rows = 0;
  // Rows per tile but the last. Tiles are even, because one of few rows leaves the vector units
  // waiting.
  int64_t rows_per_tile = 1;
  char* packed = nullptr;

  int64_t num_tiles() const { return DivideUp(num_rows, rows_per_tile); }
  // Of whole tiles: sums have room for them, also where the last tile has fewer rows.
  int64_t rows_of_tiles() const { return num_tiles() * rows_per_tile; }
  int tile_rows(int64_t tile) const {
    return static_cast<int>(std::min(rows_per_tile, num_rows - tile * rows_per_tile));
  }
  // Of packed rows from depth 0 to `depth`.
  int64_t packed_bytes(int64_t depth) const {
    return rows_of_tiles() * kernel->packed_row_bytes_per_depth * depth;
  }
  int64_t tile_bytes(int64_t depth) const {
    return rows_per_tile * kernel->packed_row_bytes_per_depth * depth;
  }
  // The tile's part of the block [block_begin, block_begin + block_depth) of depth.
  char* tile(int64_t index, int64_t block_begin, int64_t block_depth) const {
    return packed + packed_bytes(block_begin) + index * tile_bytes(block_depth);
  }
};

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

// The panels of a product in units of those that are multiplied at once: neighbours, or a panel of
// gates with that of their factors.
class Units {
 public:
  Units(const GemmProblem& problem, const GemmKernel& kernel)
      : is_gated_(problem.gated),
        num_panels_(DivideUp(problem.num_columns, kPanelWidth)),
        size_(is_gated_ ? 2 : kernel.panels_at_once) {}

  int64_t size() const { return size_; }  // panels of a unit, but perhaps of the last
  int64_t num() const { return DivideUp(num_panels_, size_); }
  int num_panels(int64_t unit) const {
    return is_gated_ ? 2 : static_cast<int>(std::min(size_, num_panels_ - unit * size_));
  }
  int64_t panel(int64_t unit, int part) const {
    return is_gated_ ? part * num() + unit : unit * size_ + part;
  }

 private:
  bool is_gated_;
  int64_t num_panels_, size_;
};

// Some depth of the panels of a unit.
struct Block {
  int64_t unit = 0;
  int64_t begin = 0;  // of the depth
};

// The blocks of some units in the order in which they are multiplied: for each group of units one
// depth after the other, and for each depth the units.
class BlockOrder {
 public:
  BlockOrder(const GemmProblem& problem, const Pass& pass, int64_t unit_size, int64_t first_unit,
             int64_t last_unit)
      : first_unit_(first_unit),
        last_unit_(last_unit),
        padded_depth_(problem.padded_depth),
        depth_(DepthOfBlocks(problem, pass)),
        group_units_(pass.num_tiles() == 1 ? 1 : kGroupPanels / unit_size) {}

  static int64_t DepthOfBlocks(const GemmProblem& problem, const Pass& pass) {
    const int64_t bytes =
        pass.num_tiles() == 1 ? kStreamedBlockBytes : pass.kernel->panel_block_bytes;
    return std::min(problem.padded_depth,
                    bytes / (kPanelWidth * ElementBytes(problem.weight_type)));
  }

  Block First() const { return {.unit = first_unit_}; }
  bool IsEnd(const Block& block) const { return block.unit >= last_unit_; }
  bool IsLastOfUnit(const Block& block) const { return block.begin + depth_ >= padded_depth_; }
  int64_t Depth(const Block& block) const { return std::min(depth_, padded_depth_ - block.begin); }
  // Of the blocks of one depth in its group.
  int64_t Slot(const Block& block) const { return block.unit - GroupBegin(block.unit); }
  int64_t NumSlots(const Block& block) const {
    return GroupEnd(block.unit) - GroupBegin(block.unit);
  }

  Block Next(const Block& block) const {
    if (block.unit + 1 < GroupEnd(block.unit)) return {block.unit + 1, block.begin};
    return FirstOfNextDepth(block);
  }
  // The first block behind those of this depth in the group.
  Block FirstOfNextDepth(const Block& block) const {
    if (!IsLastOfUnit(block)) return {GroupBegin(block.unit), block.begin + depth_};
    return {GroupEnd(block.unit), 0};
  }

 private:
  int64_t GroupBegin(int64_t unit) const { return unit - (unit - first_unit_) % group_units_; }
  int64_t GroupEnd(int64_t unit) const {
    return std::min(GroupBegin(unit) + group_units_, last_unit_);
  }

  int64_t first_unit_, last_unit_, padded_depth_, depth_, group_units_;
};

void PackRows(ThreadPool& pool, const GemmProblem& problem, const Pass& pass) {
  const int64_t x_bytes = ElementBytes(problem.weight_type);
  const int64_t block_depth = BlockOrder::DepthOfBlocks(problem, pass);
  pool.ParallelFor(pass.num_tiles(), [&](int, int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t row = pass.first_row + tile * pass.rows_per_tile;
      const char* x = static_cast<const char*>(problem.x) + row * problem.x_stride * x_bytes;
      for (int64_t begin = 0; begin < problem.padded_depth; begin += block_depth) {
        const int64_t depth = std::min(block_depth, problem.padded_depth - begin);
        pass.kernel->pack_rows(x + begin * x_bytes, problem.x_stride, pass.tile_rows(tile),
                               std::min(depth, problem.depth - begin), depth,
                               pass.tile(tile, begin, depth));
      }
    }
  });
}

// The product whose packed rows the results of this one become; null: they go to its `out`.
struct PackedOut {
  const GemmProblem* problem = nullptr;
  const Pass* pass = nullptr;

  // The part of a tile from a column, which begins a panel's worth of depth.
  StoreTarget Target(int64_t tile, int64_t column) const {
    const int64_t block_depth = BlockOrder::DepthOfBlocks(*problem, *pass);
    const int64_t begin = column / block_depth * block_depth;
    const int64_t depth = std::min(block_depth, problem->padded_depth - begin);
    return {.num_rows = pass->tile_rows(tile),
            .num_columns = kPanelWidth,
            .type = problem->weight_type,
            .out = pass->tile(tile, begin, depth) + pass->tile_bytes(column - begin),
            .out_stride = kPanelWidth};
  }
};

struct PassOfProduct {
  const KernelTable& kernels;
  const GemmProblem& problem;
  const Pass& pass;
  const Units& units;
  const PackedOut& packed_out;
};

// Whether the results are written around the caches, which would have to fetch each line before it
// is written: where they are large and in whole cache lines.
bool GoesPastCaches(const GemmProblem& problem) {
  const int64_t stride_bytes = problem.out_stride * ElementBytes(problem.out_type);
  return problem.out_type == ElementType::kFloat32 && !problem.gated &&
         problem.num_rows * stride_bytes >= kMinBytesPastCaches && stride_bytes % kAlignment == 0 &&
         reinterpret_cast<uintptr_t>(problem.out) % kAlignment == 0;
}

// One thread's part of a pass: some units, and room for the sums of a group of them.
class PassPart {
 public:
  PassPart(const PassOfProduct& whole, int64_t first_unit, int64_t last_unit, float* sums)
      : kernels_(whole.kernels),
        problem_(whole.problem),
        pass_(whole.pass),
        units_(whole.units),
        packed_out_(whole.packed_out),
        order_(problem_, pass_, units_.size(), first_unit, last_unit),
        sums_(sums),
        past_caches_(GoesPastCaches(problem_)) {}

  void Multiply() const {
    if (pass_.kernel->enter_thread != nullptr) pass_.kernel->enter_thread();
    for (Block block = order_.First(); !order_.IsEnd(block); block = order_.Next(block)) {
      MultiplyBlock(block);
    }
    if (pass_.kernel->leave_thread != nullptr) pass_.kernel->leave_thread();
    if (past_caches_) _mm_sfence();
  }

 private:
  const char* Weights(const Block& block, int part) const {
    const int64_t panel_depth = units_.panel(block.unit, part) * problem_.padded_depth;
    return static_cast<const char*>(problem_.weight) +
           (panel_depth + block.begin) * kPanelWidth * ElementBytes(problem_.weight_type);
  }

  int64_t PanelSums() const { return pass_.rows_of_tiles() * kPanelWidth; }
  // Of the unit's first panel and first tile; the other tiles' follow, then the other panels'.
  float* Sums(const Block& block) const {
    return sums_ + order_.Slot(block) * units_.size() * PanelSums();
  }

  // What is fetched while `block` is multiplied: the next block, and of the rows of the next depth
  // its share among the blocks of this depth.
  FetchAhead Ahead(const Block& block) const {
    FetchAhead ahead;
    const Block next = order_.Next(block);
    if (order_.IsEnd(next)) return ahead;
    const int64_t num_bytes = order_.Depth(next) * kPanelWidth * ElementBytes(problem_.weight_type);
    for (int part = 0; part < units_.num_panels(next.unit); ++part) {
      ahead.weights[part] = {Weights(next, part), num_bytes};
    }
    ahead.rows = NextRows(block);
    return ahead;
  }
  FetchAhead::Bytes NextRows(const Block& block) const {
    const Block next = order_.FirstOfNextDepth(block);
    if (order_.IsEnd(next) || next.begin == block.begin) return {};
    const int64_t depth = order_.Depth(next), num_bytes = pass_.packed_bytes(depth);
    const int64_t share = RoundUp(DivideUp(num_bytes, order_.NumSlots(block)), kAlignment);
    const int64_t begin = std::min(order_.Slot(block) * share, num_bytes);
    return {pass_.tile(0, next.begin, depth) + begin, std::min(share, num_bytes - begin)};
  }

  void MultiplyBlock(const Block& block) const {
    const int64_t depth = order_.Depth(block);
    const PackedRows rows = {.tiles = pass_.tile(0, block.begin, depth),
                             .tile_bytes = pass_.tile_bytes(depth),
                             .num_rows = pass_.num_rows,
                             .rows_per_tile = pass_.rows_per_tile,
                             .depth = depth};
    PanelBlocks panels = {
        .weights = {}, .num_panels = units_.num_panels(block.unit), .sums_stride = PanelSums()};
    for (int part = 0; part < panels.num_panels; ++part) {
      panels.weights[part] = Weights(block, part);
    }
    const DoneBlock done = {this, block};
    pass_.kernel->multiply(rows, panels, Ahead(block), block.begin > 0, Sums(block),
                           order_.IsLastOfUnit(block) ? TileDone{StoreTileOf, &done} : TileDone{});
  }

  struct DoneBlock {
    const PassPart* part;
    Block block;
  };
  static void StoreTileOf(const void* context, int64_t tile) {
    const DoneBlock& done = *static_cast<const DoneBlock*>(context);
    done.part->StoreTile(done.block, tile);
  }

  void StoreTile(const Block& block, int64_t tile) const {
    const float* sums = Sums(block) + tile * pass_.rows_per_tile * kPanelWidth;
    if (problem_.gated) {
      const int64_t column = block.unit * kPanelWidth;
      return kernels_.rows.store_gated_panel(sums, Bias(column), sums + PanelSums(),
                                             Bias(problem_.num_columns / 2 + column),
                                             Target(tile, column));
    }
    for (int part = 0; part < units_.num_panels(block.unit); ++part) {
      const int64_t column = units_.panel(block.unit, part) * kPanelWidth;
      kernels_.rows.store_panel(sums + part * PanelSums(), Bias(column), Target(tile, column));
    }
  }

  const float* Bias(int64_t column) const {
    return problem_.bias == nullptr ? nullptr : problem_.bias + column;
  }

  // The tile's part of `out` from a column.
  StoreTarget Target(int64_t tile, int64_t column) const {
    if (packed_out_.problem != nullptr) return packed_out_.Target(tile, column);
    const int64_t row = pass_.first_row + tile * pass_.rows_per_tile;
    const int64_t num_columns = problem_.gated ? problem_.num_columns / 2 : problem_.num_columns;
    return {.num_rows = pass_.tile_rows(tile),
            .num_columns = std::min<int64_t>(kPanelWidth, num_columns - column),
            .type = problem_.out_type,
            .out = static_cast<char*>(problem_.out) +
                   (row * problem_.out_stride + column) * ElementBytes(problem_.out_type),
            .out_stride = problem_.out_stride,
            .past_caches = past_caches_ && column + kPanelWidth <= num_columns};
  }

  const KernelTable& kernels_;
  const GemmProblem& problem_;
  const Pass& pass_;
  const Units& units_;
  const PackedOut& packed_out_;
  BlockOrder order_;
  float* sums_;
  bool past_caches_;
};

int64_t PackedBytes(const GemmProblem& problem, const Pass& pass) {
  return RoundUp(pass.packed_bytes(problem.padded_depth), kAlignment);
}

// Floats of one thread.
int64_t NumSums(const Pass& pass) { return pass.rows_of_tiles() * kPanelWidth * kGroupPanels; }

// Scratch memory for the packed rows of one or more products and for the sums behind them.
char* TakeScratch(KernelContext& context, int64_t packed_bytes, int64_t num_sums) {
  const int64_t sums_bytes =
      context.pool().num_threads() * num_sums * static_cast<int64_t>(sizeof(float));
  return static_cast<char*>(context.Scratch(static_cast<size_t>(packed_bytes + sums_bytes)));
}

void MultiplyPass(KernelContext& context, const GemmProblem& problem, const Pass& pass,
                  const PackedOut& packed_out, void* all_sums) {
  const Units units(problem, *pass.kernel);
  context.pool().ParallelFor(units.num(), [&](int thread, int64_t begin, int64_t end) {
    float* sums = static_cast<float*>(all_sums) + thread * NumSums(pass);
    PassPart({context.cpu_kernels(), problem, pass, units, packed_out}, begin, end, sums)
        .Multiply();
  });
}

}  // namespace

void RunGemm(KernelContext& context, const GemmProblem& problem) {
  const GemmKernel& kernel = context.cpu_kernels().gemm[static_cast<int>(problem.weight_type)];
  for (int64_t index = 0; index < NumPasses(problem); ++index) {
    Pass pass = MakePass(kernel, problem, index);
    const int64_t packed_bytes = PackedBytes(problem, pass);
    pass.packed = TakeScratch(context, packed_bytes, NumSums(pass));
    PackRows(context.pool(), problem, pass);
    MultiplyPass(context, problem, pass, {}, pass.packed + packed_bytes);
  }
}

void RunGatedMlp(KernelContext& context, const GemmProblem& gated, const GemmProblem& down) {
  const GemmKernel& kernel = context.cpu_kernels().gemm[static_cast<int>(gated.weight_type)];
  for (int64_t index = 0; index < NumPasses(gated); ++index) {
    Pass first = MakePass(kernel, gated, index), second = MakePass(kernel, down, index);
    const int64_t first_bytes = PackedBytes(gated, first), second_bytes = PackedBytes(down, second);
    first.packed = TakeScratch(context, first_bytes + second_bytes, NumSums(first));
    second.packed = first.packed + first_bytes;
    PackRows(context.pool(), gated, first);
    MultiplyPass(context, gated, first, {&down, &second}, second.packed + second_bytes);
    MultiplyPass(context, down, second, {}, second.packed + second_bytes);
  }
}

}  // namespace lockstep::worker::cpu
