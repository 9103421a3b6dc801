// Matrix products with float32 multiply-adds, for all element types. Included inside the unnamed
// namespace of each kernels_*.cc, after vec.inl and gemm_tiles.inl.

// Rows and vectors of columns per register tile: accumulators, operands and one broadcast fill the
// register file.
#if defined(__AVX512F__)
constexpr int kTileRows = 12, kTileVecs = 2;
#elif defined(__AVX2__)
constexpr int kTileRows = 6, kTileVecs = 2;
#else
constexpr int kTileRows = 3, kTileVecs = 4;
#endif
constexpr int kTileColumns = kTileVecs * Vec::kWidth;
static_assert(kPanelWidth % kTileColumns == 0);

// The weight streams from memory when there are few rows, and is fetched so far ahead of its use:
// every line of it, since not every processor fetches the neighbours of what it is asked for.
constexpr int64_t kPrefetchBytes = kTileColumns * 128;

template <int kNumBytes>
inline void FetchWeight(const void* weight) {
#pragma GCC unroll 4
  for (int64_t line = 0; line < kNumBytes; line += kCacheLineBytes) {
    _mm_prefetch(static_cast<const char*>(weight) + kPrefetchBytes + line, _MM_HINT_T0);
  }
}

// sums += *a · columns.
#if defined(__AVX2__) && !defined(__AVX512F__)
// In assembly: the tile takes all 16 registers, and the compiler, left to itself, loads several
// rows' broadcasts ahead and keeps sums in memory instead, which costs a third of the rate.
inline void AccumulateRow(const float* a, const Vec (&columns)[kTileVecs], Vec (&sums)[kTileVecs]) {
  static_assert(kTileVecs == 2);
  auto broadcast = columns[0].v, left_sum = sums[0].v, right_sum = sums[1].v;
  __asm__ volatile(
      "vbroadcastss %[a], %[broadcast]\n\t"
      "vfmadd231ps %[left], %[broadcast], %[left_sum]\n\t"
      "vfmadd231ps %[right], %[broadcast], %[right_sum]"
      : [broadcast] "=&v"(broadcast), [left_sum] "+&v"(left_sum), [right_sum] "+&v"(right_sum)
      : [a] "m"(*a), [left] "v"(columns[0].v), [right] "v"(columns[1].v));
  sums[0].v = left_sum;
  sums[1].v = right_sum;
}
#else
inline void AccumulateRow(const float* a, const Vec (&columns)[kTileVecs], Vec (&sums)[kTileVecs]) {
  const Vec broadcast = Set(*a);
#pragma GCC unroll 4
  for (int v = 0; v < kTileVecs; ++v) sums[v] = MulAdd(broadcast, columns[v], sums[v]);
}
#endif

// One step of depth of the register tile: a is one row's broadcast source per row, b the columns.
template <int kRows>
inline void AccumulateStep(Vec (&sum)[kRows][kTileVecs], const float* a, int64_t a_row_stride,
                           const Vec (&b)[kTileVecs]) {
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) AccumulateRow(a + row * a_row_stride, b, sum[row]);
}

template <int kRows>
inline void LoadTile(Vec (&sum)[kRows][kTileVecs], const float* c, int64_t c_stride,
                     bool accumulate) {
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) {
      sum[row][v] = accumulate ? Load(c + row * c_stride + v * Vec::kWidth) : Set(0.0f);
    }
  }
}

template <int kRows>
inline void StoreTile(const Vec (&sum)[kRows][kTileVecs], float* c, int64_t c_stride) {
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) Store(c + row * c_stride + v * Vec::kWidth, sum[row][v]);
  }
}

// c [kRows, kTileColumns] (+)= a [kRows, depth] · b [depth, kTileColumns]; float32 and float16
// weights.
template <int kRows, typename T>
void MultiplyTile(const float* a, int64_t a_row_stride, int64_t a_depth_stride, int64_t depth,
                  const T* b, int64_t b_stride, float* c, int64_t c_stride, bool accumulate) {
  Vec sum[kRows][kTileVecs];
  LoadTile<kRows>(sum, c, c_stride, accumulate);
  for (int64_t k = 0; k < depth; ++k, a += a_depth_stride, b += b_stride) {
    FetchWeight<kTileColumns * sizeof(T)>(b);
    Vec columns[kTileVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) columns[v] = Load(b + v * Vec::kWidth);
    AccumulateStep<kRows>(sum, a, a_row_stride, columns);
  }
  StoreTile<kRows>(sum, c, c_stride);
}

// The same for bfloat16 weights, whose panels hold pairs of depths side by side: b [depth / 2,
// columns, 2].
template <int kRows>
void MultiplyTile(const float* a, int64_t a_row_stride, int64_t a_depth_stride, int64_t depth,
                  const BFloat16* b, int64_t b_stride, float* c, int64_t c_stride,
                  bool accumulate) {
  Vec sum[kRows][kTileVecs];
  LoadTile<kRows>(sum, c, c_stride, accumulate);
  for (int64_t k = 0; k < depth; k += 2, b += 2 * b_stride) {
    FetchWeight<kTileColumns * 2 * sizeof(BFloat16)>(b);
    Vec columns[kTileVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) columns[v] = LoadEven(b + 2 * v * Vec::kWidth);
    AccumulateStep<kRows>(sum, a, a_row_stride, columns);
    a += a_depth_stride;
    // Where the compiler cannot see that it has them, it loads the pairs again: kept in registers,
    // they would leave too few for the sums.
    const BFloat16* again = b;
    __asm__("" : "+r"(again));
#pragma GCC unroll 4
    for (int v = 0; v < kTileVecs; ++v) columns[v] = LoadOdd(again + 2 * v * Vec::kWidth);
    AccumulateStep<kRows>(sum, a, a_row_stride, columns);
    a += a_depth_stride;
  }
  StoreTile<kRows>(sum, c, c_stride);
}

// c [num_rows, num_columns] (+)= a · b with num_rows <= kTileRows and num_columns a multiple of
// kTileColumns. For bfloat16 b a column of pairs counts as one column.
template <int kRows, typename T>
void MultiplyRows(int num_rows, int64_t num_columns, const float* a, int64_t a_row_stride,
                  int64_t a_depth_stride, int64_t depth, const T* b, int64_t b_stride, float* c,
                  int64_t c_stride, bool accumulate) {
  if constexpr (kRows > 1) {
    if (num_rows < kRows) {
      MultiplyRows<kRows - 1>(num_rows, num_columns, a, a_row_stride, a_depth_stride, depth, b,
                              b_stride, c, c_stride, accumulate);
      return;
    }
  }
  constexpr int kElementsPerColumn = std::is_same_v<T, BFloat16> ? 2 : 1;
  for (int64_t column = 0; column < num_columns; column += kTileColumns) {
    MultiplyTile<kRows>(a, a_row_stride, a_depth_stride, depth, b + column * kElementsPerColumn,
                        b_stride, c + column, c_stride, accumulate);
  }
}

template <typename T>
void MultiplyPanels(const PackedRows& rows, const PanelBlocks& panels, const FetchAhead& /*ahead*/,
                    bool accumulate, float* sums, const TileDone& done) {
  ForEachTile(rows, panels, sums, done,
              [&](const void* tile, int num_rows, const void* panel, float* tile_sums) {
                MultiplyRows<kTileRows>(num_rows, kPanelWidth, static_cast<const float*>(tile), 1,
                                        num_rows, rows.depth, static_cast<const T*>(panel),
                                        kPanelWidth, tile_sums, kPanelWidth, accumulate);
              });
}

// packed [padded_depth, num_rows] float32
template <typename T>
void PackRowsAsFloat(const void* x, int64_t row_stride, int num_rows, int64_t depth,
                     int64_t padded_depth, void* packed) {
  float* out = static_cast<float*>(packed);
  for (int row = 0; row < num_rows; ++row) {
    const T* in = static_cast<const T*>(x) + row * row_stride;
    int64_t k = 0;
    for (; k + Vec::kWidth <= depth; k += Vec::kWidth) {
      float values[Vec::kWidth];
      Store(values, Load(in + k));
      for (int i = 0; i < Vec::kWidth; ++i) out[(k + i) * num_rows + row] = values[i];
    }
    if (k < depth) {
      float values[Vec::kWidth];
      Store(values, LoadPartial(in + k, static_cast<int>(depth - k)));
      for (int i = 0; k < depth; ++k, ++i) out[k * num_rows + row] = values[i];
    }
    for (; k < padded_depth; ++k) out[k * num_rows + row] = 0.0f;
  }
}

template <typename T>
constexpr GemmKernel kFloatGemm = {.max_rows = kTileRows,
                                   .packed_row_bytes_per_depth = sizeof(float),
                                   .pads_rows = false,
                                   .packs_panels = false,
                                   .panels_at_once = 1,
                                   .panel_block_bytes = kVectorPanelBlockBytes,
                                   .pack_rows = PackRowsAsFloat<T>,
                                   .multiply = MultiplyPanels<T>,
                                   .enter_thread = nullptr,
                                   .leave_thread = nullptr};
