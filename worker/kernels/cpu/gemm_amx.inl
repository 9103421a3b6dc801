// bfloat16 matrix products on AMX tiles: 32 rows by 32 columns from two tiles of rows, two of
// weights and four of sums. A block of a panel is read from the first-level cache by one tile of
// rows after the other; rows and sums pass through the second-level cache.
// Included inside an unnamed namespace, after amx_block.inl.

constexpr int kAmxRowTiles = 2;
constexpr int kAmxRows = kAmxRowTiles * kAmxTileRows;         // per call
constexpr int64_t kPanelRowBytes = int64_t{kPanelWidth} * 4;  // a pair of depths of all columns
constexpr int64_t kCacheLineBytes = 64;
static_assert(kPanelWidth == 32 && kDepthMultiple == kAmxTileDepth);

// packed [padded_depth / 32, 2, 16, 32] bfloat16: for each 32 of depth the tiles of rows 0-15 and
// 16-31. Rows that a tile lacks are zero; tiles without rows are left as they are.
void PackAmxRows(const void* x, int64_t row_stride, int num_rows, int64_t depth,
                 int64_t padded_depth, void* packed) {
  const int tile_rows = (num_rows + kAmxTileRows - 1) / kAmxTileRows * kAmxTileRows;
  for (int row = 0; row < tile_rows; ++row) {
    const BFloat16* in = static_cast<const BFloat16*>(x) + row * row_stride;
    BFloat16* out = static_cast<BFloat16*>(packed) + row * kAmxTileDepth;
    for (int64_t first = 0; first < padded_depth; first += kAmxTileDepth) {
      CopyAmxRow(in + first, row < num_rows ? depth - first : 0, out);
      out += kAmxRowTiles * kAmxTileElements;
    }
  }
}

// Spreads the fetches of `ahead` evenly over `num_steps`.
class AheadFetcher {
 public:
  AheadFetcher(const FetchAhead::Bytes& ahead, int64_t num_steps)
      : next_(ahead.begin),
        end_(ahead.begin + ahead.num),
        step_bytes_((ahead.num / kCacheLineBytes + num_steps - 1) / num_steps * kCacheLineBytes) {}

  void Step() {
    const char* stop = end_ - next_ < step_bytes_ ? end_ : next_ + step_bytes_;
    for (; next_ < stop; next_ += kCacheLineBytes) __builtin_prefetch(next_, 0, 2);
  }

 private:
  const char* next_;
  const char* end_;
  int64_t step_bytes_;
};

// A block of a panel, by which tiles of rows are multiplied one after the other.
template <typename Tiles>
struct AmxPanelBlock {
  const BFloat16* weights;
  int64_t num_steps;  // of 32 depths
  bool accumulate;
  AheadFetcher ahead_weights, ahead_rows;

  template <int kGroup>
  void Begin(const float* sums) const {
    if (accumulate) {
      LoadAmxGroup<Tiles, kGroup>(sums, kPanelWidth);
    } else {
      ZeroAmxGroup<Tiles, kGroup>();
    }
  }

  // One step for one group of rows.
  template <int kGroup>
  void Add(const BFloat16* rows, int64_t step) const {
    const BFloat16* columns = weights + step * kAmxTileDepth * kPanelWidth;
    Tiles::template Load<6>(columns, kPanelRowBytes);
    Tiles::template Load<4 + kGroup>(rows + (step * kAmxRowTiles + kGroup) * kAmxTileElements,
                                     kAmxTileRowBytes);
    Tiles::template Dot<kGroup, 0>();
    Tiles::template Load<7>(columns + kAmxTileDepth, kPanelRowBytes);
    Tiles::template Dot<kGroup, 1>();
  }

  // Steps [first, last).
  template <int kGroups>
  void AddSteps(const BFloat16* rows, int64_t first, int64_t last) {
    for (int64_t step = first; step < last; ++step) {
      ahead_weights.Step();
      ahead_rows.Step();
      AddAmxProducts<Tiles, kGroups>(rows + step * kAmxRowTiles * kAmxTileElements,
                                     kAmxTileElements, weights + step * kAmxTileDepth * kPanelWidth,
                                     kAmxTileDepth, kPanelRowBytes);
    }
  }
};

// Tiles of two groups of rows. The sums of one group are stored and those of the next tile loaded
// while the products of the other group are under way, so that neither waits for the other: the
// first step of a tile and its last one are taken group by group.
template <typename Tiles>
void MultiplyAmxTiles(AmxPanelBlock<Tiles>& block, const BFloat16* rows, int64_t num_tiles,
                      float* sums, const TileDone& done) {
  const int64_t last = block.num_steps - 1, tile_sums = kAmxRows * kPanelWidth;
  const int64_t tile_elements = block.num_steps * kAmxRowTiles * kAmxTileElements;
  block.template Begin<0>(sums);
  block.template Add<0>(rows, 0);
  block.template Begin<1>(sums);
  block.template Add<1>(rows, 0);
  for (int64_t tile = 0; tile < num_tiles; ++tile, sums += tile_sums) {
    block.template AddSteps<2>(rows, 1, last);
    if (last > 0) {
      block.template Add<0>(rows, last);
      block.template Add<1>(rows, last);
    }
    rows += tile_elements;
    const bool has_next = tile + 1 < num_tiles;
    StoreAmxGroup<Tiles, 0>(sums, kPanelWidth);
    if (has_next) {
      block.template Begin<0>(sums + tile_sums);
      block.template Add<0>(rows, 0);
    }
    StoreAmxGroup<Tiles, 1>(sums, kPanelWidth);
    if (has_next) {
      block.template Begin<1>(sums + tile_sums);
      block.template Add<1>(rows, 0);
    }
    if (done.call != nullptr) done.call(done.context, tile);
  }
}

template <typename Tiles>
void MultiplyAmx(const PackedRows& rows, const void* panel, const FetchAhead& ahead,
                 bool accumulate, float* sums, const TileDone& done) {
  const int64_t num_steps = rows.depth / kAmxTileDepth;
  const int64_t num_tiles = (rows.num_rows + kAmxTileRows - 1) / kAmxRows;  // of two groups
  const bool has_single = rows.num_rows > num_tiles * kAmxRows;
  const int64_t num_fetches =
      (num_steps > 2 ? num_steps - 2 : 1) * num_tiles + (has_single ? num_steps : 0);
  AmxPanelBlock<Tiles> block = {.weights = static_cast<const BFloat16*>(panel),
                                .num_steps = num_steps,
                                .accumulate = accumulate,
                                .ahead_weights = AheadFetcher(ahead.weights, num_fetches),
                                .ahead_rows = AheadFetcher(ahead.rows, num_fetches)};
  const BFloat16* packed = static_cast<const BFloat16*>(rows.tiles);
  if (num_tiles > 0) MultiplyAmxTiles(block, packed, num_tiles, sums, done);
  if (!has_single) return;
  packed += num_tiles * num_steps * kAmxRowTiles * kAmxTileElements;
  sums += num_tiles * kAmxRows * kPanelWidth;
  block.template Begin<0>(sums);
  block.template AddSteps<1>(packed, 0, num_steps);
  StoreAmxGroup<Tiles, 0>(sums, kPanelWidth);
  if (done.call != nullptr) done.call(done.context, num_tiles);
}

// enter and leave configure and release the processor's tiles on a thread.
template <typename Tiles>
constexpr GemmKernel MakeAmxGemm(void (*enter)(), void (*leave)()) {
  return {.max_rows = kAmxRows,
          .packed_row_bytes_per_depth = sizeof(BFloat16),
          .pads_rows = true,
          .panel_block_bytes = 16 * 1024,
          .few_tiles = 3,
          .pack_rows = PackAmxRows,
          .multiply = MultiplyAmx<Tiles>,
          .enter_thread = enter,
          .leave_thread = leave};
}
