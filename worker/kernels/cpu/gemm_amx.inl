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
  BFloat16* tiles = static_cast<BFloat16*>(packed);
  for (int64_t first = 0; first < padded_depth; first += kAmxTileDepth) {
    const int64_t left = depth - first;
    const int num = left >= kAmxTileDepth ? kAmxTileDepth : left > 0 ? static_cast<int>(left) : 0;
    BFloat16* out = tiles + first * kAmxRows;
    for (int row = 0; row < tile_rows; ++row, out += kAmxTileDepth) {
      const int valid = row < num_rows ? num : 0;
      if (valid > 0) {
        __builtin_memcpy(out, static_cast<const BFloat16*>(x) + row * row_stride + first,
                         valid * sizeof(BFloat16));
      }
      __builtin_memset(out + valid, 0, (kAmxTileDepth - valid) * sizeof(BFloat16));
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

// The first kGroups tiles of rows.
template <typename Tiles, int kGroups>
void MultiplyAmxTiles(const BFloat16* rows, int64_t depth, const BFloat16* panel,
                      const FetchAhead& ahead, bool accumulate, float* sums) {
  AheadFetcher weights(ahead.weights, depth / kAmxTileDepth);
  AheadFetcher next_rows(ahead.rows, depth / kAmxTileDepth);
  if (accumulate) {
    LoadAmxBlock<Tiles, kGroups>(sums, kPanelWidth);
  } else {
    ZeroAmxBlock<Tiles, kGroups>();
  }
  for (int64_t k = 0; k < depth; k += kAmxTileDepth) {
    weights.Step();
    next_rows.Step();
    AddAmxProducts<Tiles, kGroups>(rows, kAmxTileElements, panel, kAmxTileDepth, kPanelRowBytes);
    rows += kAmxRowTiles * kAmxTileElements;
    panel += kAmxTileDepth * kPanelWidth;
  }
  StoreAmxBlock<Tiles, kGroups>(sums, kPanelWidth);
}

template <typename Tiles>
void MultiplyAmx(const void* packed_rows, int num_rows, int64_t depth, const void* panel,
                 const FetchAhead& ahead, bool accumulate, float* accumulators) {
  const BFloat16* rows = static_cast<const BFloat16*>(packed_rows);
  const BFloat16* weights = static_cast<const BFloat16*>(panel);
  if (num_rows <= kAmxTileRows) {
    MultiplyAmxTiles<Tiles, 1>(rows, depth, weights, ahead, accumulate, accumulators);
  } else {
    MultiplyAmxTiles<Tiles, 2>(rows, depth, weights, ahead, accumulate, accumulators);
  }
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
