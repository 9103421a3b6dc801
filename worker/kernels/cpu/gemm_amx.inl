// bfloat16 matrix products on AMX tiles: 16 rows by two panels of 32 columns from one tile of rows,
// four of weights and four of sums. A block of the panels is read from the first-level cache by one
// tile of rows after the other; rows and sums pass through the second-level cache.
// Included inside an unnamed namespace, after amx_layout.inl.

constexpr int64_t kPanelRowBytes = int64_t{kPanelWidth} * 4;  // a pair of depths of all columns
static_assert(kPanelWidth == 32 && kDepthMultiple == kAmxTileDepth);

// packed [padded_depth / 32, 16, 32] bfloat16: one tile of rows for each 32 of depth, rows that it
// lacks zero.
void PackAmxRows(const void* x, int64_t row_stride, int num_rows, int64_t depth,
                 int64_t padded_depth, void* packed) {
  for (int row = 0; row < kAmxTileRows; ++row) {
    const BFloat16* in = static_cast<const BFloat16*>(x) + row * row_stride;
    BFloat16* out = static_cast<BFloat16*>(packed) + row * kAmxTileDepth;
    for (int64_t first = 0; first < padded_depth; first += kAmxTileDepth) {
      CopyAmxRow(in + first, row < num_rows ? depth - first : 0, out);
      out += kAmxTileElements;
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

// A block of one or two panels, by which tiles of rows are multiplied one after the other. Panel
// p's sums are in tiles 2 p and 2 p + 1.
template <typename Tiles>
struct AmxPanels {
  const BFloat16* weights[kMaxPanels];
  int64_t sums_stride;  // from one panel's to the next one's
  int64_t num_steps;    // of 32 depths
  bool accumulate;
  AheadFetcher ahead[kMaxPanels + 1];

  template <int kPanel>
  void Begin(const float* sums) const {
    sums += kPanel * sums_stride;
    if (accumulate) {
      Tiles::template Load<2 * kPanel>(sums, kPanelWidth * 4);
      Tiles::template Load<2 * kPanel + 1>(sums + kAmxTileRows, kPanelWidth * 4);
    } else {
      Tiles::template Zero<2 * kPanel>();
      Tiles::template Zero<2 * kPanel + 1>();
    }
  }

  template <int kPanel>
  void Finish(float* sums) const {
    sums += kPanel * sums_stride;
    Tiles::template Store<2 * kPanel>(sums, kPanelWidth * 4);
    Tiles::template Store<2 * kPanel + 1>(sums + kAmxTileRows, kPanelWidth * 4);
  }

  // One step of one panel; the step's rows are in tile 4.
  template <int kPanel>
  void Add(int64_t step) const {
    const BFloat16* columns = weights[kPanel] + step * kAmxTileDepth * kPanelWidth;
    constexpr int kLeft = kPanel == 0 ? 5 : 7, kRight = kPanel == 0 ? 6 : 5;
    Tiles::template Load<kLeft>(columns, kPanelRowBytes);
    Tiles::template Dot<2 * kPanel, 4, kLeft>();
    Tiles::template Load<kRight>(columns + kAmxTileDepth, kPanelRowBytes);
    Tiles::template Dot<2 * kPanel + 1, 4, kRight>();
  }

  template <int kPanel>
  void AddAlone(const BFloat16* rows, int64_t step) const {
    Tiles::template Load<4>(rows + step * kAmxTileElements, kAmxTileRowBytes);
    Add<kPanel>(step);
  }

  // Steps [first, last) of all panels.
  template <int kPanels>
  void AddSteps(const BFloat16* rows, int64_t first, int64_t last) {
    for (int64_t step = first; step < last; ++step) {
      for (AheadFetcher& fetcher : ahead) fetcher.Step();
      Tiles::template LoadOnce<4>(rows + step * kAmxTileElements, kAmxTileRowBytes);
      Add<0>(step);
      if constexpr (kPanels > 1) Add<1>(step);
    }
  }
};

template <typename Tiles>
void MultiplyByOnePanel(AmxPanels<Tiles>& panels, const PackedRows& rows, float* sums,
                        const TileDone& done) {
  const BFloat16* packed = static_cast<const BFloat16*>(rows.tiles);
  for (int64_t tile = 0; tile * kAmxTileRows < rows.num_rows; ++tile) {
    panels.template Begin<0>(sums);
    panels.template AddSteps<1>(packed, 0, panels.num_steps);
    panels.template Finish<0>(sums);
    if (done.call != nullptr) done.call(done.context, tile);
    packed += panels.num_steps * kAmxTileElements;
    sums += kAmxTileRows * kPanelWidth;
  }
}

// The sums of one panel are stored and those of the next tile of rows loaded while the products of
// the other panel are under way, so that neither waits for the other: the first step of a tile and
// its last one are taken panel by panel.
template <typename Tiles>
void MultiplyByTwoPanels(AmxPanels<Tiles>& panels, const PackedRows& rows, float* sums,
                         const TileDone& done) {
  const int64_t last = panels.num_steps - 1;
  const BFloat16* packed = static_cast<const BFloat16*>(rows.tiles);
  panels.template Begin<0>(sums);
  panels.template AddAlone<0>(packed, 0);
  panels.template Begin<1>(sums);
  panels.template AddAlone<1>(packed, 0);
  for (int64_t tile = 0; tile * kAmxTileRows < rows.num_rows; ++tile) {
    panels.template AddSteps<2>(packed, 1, last);
    if (last > 0) {
      panels.template AddAlone<0>(packed, last);
      panels.template AddAlone<1>(packed, last);
    }
    packed += panels.num_steps * kAmxTileElements;
    float* next_sums = sums + kAmxTileRows * kPanelWidth;
    const bool has_next = (tile + 1) * kAmxTileRows < rows.num_rows;
    panels.template Finish<0>(sums);
    if (has_next) {
      panels.template Begin<0>(next_sums);
      panels.template AddAlone<0>(packed, 0);
    }
    panels.template Finish<1>(sums);
    if (has_next) {
      panels.template Begin<1>(next_sums);
      panels.template AddAlone<1>(packed, 0);
    }
    if (done.call != nullptr) done.call(done.context, tile);
    sums = next_sums;
  }
}

template <typename Tiles>
void MultiplyAmx(const PackedRows& rows, const PanelBlocks& blocks, const FetchAhead& ahead,
                 bool accumulate, float* sums, const TileDone& done) {
  const int64_t num_steps = rows.depth / kAmxTileDepth;
  const int64_t num_tiles = (rows.num_rows + kAmxTileRows - 1) / kAmxTileRows;
  const int64_t steps_of_tile = blocks.num_panels == 1 ? num_steps : num_steps - 2;
  const int64_t num_fetches = num_tiles * (steps_of_tile > 0 ? steps_of_tile : 1);
  AmxPanels<Tiles> panels = {.weights = {static_cast<const BFloat16*>(blocks.weights[0]),
                                         static_cast<const BFloat16*>(blocks.weights[1])},
                             .sums_stride = blocks.sums_stride,
                             .num_steps = num_steps,
                             .accumulate = accumulate,
                             .ahead = {AheadFetcher(ahead.weights[0], num_fetches),
                                       AheadFetcher(ahead.weights[1], num_fetches),
                                       AheadFetcher(ahead.rows, num_fetches)}};
  if (blocks.num_panels == 1) {
    MultiplyByOnePanel(panels, rows, sums, done);
  } else {
    MultiplyByTwoPanels(panels, rows, sums, done);
  }
}

// enter and leave configure and release the processor's tiles on a thread.
template <typename Tiles>
constexpr GemmKernel MakeAmxGemm(void (*enter)(), void (*leave)()) {
  return {.max_rows = kAmxTileRows,
          .packed_row_bytes_per_depth = sizeof(BFloat16),
          .pads_rows = true,
          .packs_panels = true,
          .panels_at_once = 2,
          .panel_block_bytes = 16 * 1024,
          .pack_rows = PackAmxRows,
          .multiply = MultiplyAmx<Tiles>,
          .enter_thread = enter,
          .leave_thread = leave};
}
