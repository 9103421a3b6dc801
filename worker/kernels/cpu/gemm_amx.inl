// bfloat16 matrix products on AMX tiles: 32 rows by 32 columns from two tiles of rows, two of
// weights and four of sums. Included inside an unnamed namespace. `Tiles` is the tile register
// file: the processor's (gemm_amx_bf16.cc), or a model of it, with which the tests check this code
// on processors without AMX.
//
//   Tiles::Zero<t>()              tile t = 0
//   Tiles::Load<t>(p, bytes)      tile t = 16 rows of 64 bytes, `bytes` apart
//   Tiles::Store<t>(p, bytes)     the reverse
//   Tiles::Dot<sums, rows, b>()   sums += rows [16, 16 pairs] · b [16 pairs, 16]

constexpr int kAmxTileRows = 16;   // of any tile
constexpr int kAmxTileDepth = 32;  // bfloat16 values of depth per tile of rows: 64 bytes
constexpr int kAmxTileElements = kAmxTileRows * kAmxTileDepth;
constexpr int kAmxRows = 2 * kAmxTileRows;  // per call
constexpr int64_t kPanelRowBytes =
    int64_t{kPanelWidth} * 4;  // a pair of depths of all columns, or a row of sums
static_assert(kPanelWidth == 32 && kDepthMultiple == kAmxTileDepth);

// packed [padded_depth / 32, 2, 16, 32] bfloat16: for each 32 of depth the tiles of rows 0-15 and
// 16-31. Absent rows are zero.
void PackAmxRows(const void* x, int64_t row_stride, int num_rows, int64_t depth,
                 int64_t padded_depth, void* packed) {
  BFloat16* out = static_cast<BFloat16*>(packed);
  for (int64_t first = 0; first < padded_depth; first += kAmxTileDepth) {
    const int64_t left = depth - first;
    const int num = left >= kAmxTileDepth ? kAmxTileDepth : left > 0 ? static_cast<int>(left) : 0;
    for (int row = 0; row < kAmxRows; ++row, out += kAmxTileDepth) {
      const int valid = row < num_rows ? num : 0;
      if (valid > 0) {
        __builtin_memcpy(out, static_cast<const BFloat16*>(x) + row * row_stride + first,
                         valid * sizeof(BFloat16));
      }
      __builtin_memset(out + valid, 0, (kAmxTileDepth - valid) * sizeof(BFloat16));
    }
  }
}

// Rows 0-15 alone, for a tile that has no more.
template <typename Tiles>
void MultiplyAmxHalf(const BFloat16* rows, int64_t depth, const BFloat16* panel, bool accumulate,
                     float* sums) {
  if (accumulate) {
    Tiles::template Load<0>(sums, kPanelRowBytes);
    Tiles::template Load<1>(sums + 16, kPanelRowBytes);
  } else {
    Tiles::template Zero<0>();
    Tiles::template Zero<1>();
  }
  for (int64_t k = 0; k < depth; k += kAmxTileDepth) {
    Tiles::template Load<4>(rows, 64);
    Tiles::template Load<6>(panel, kPanelRowBytes);
    Tiles::template Load<7>(panel + 32, kPanelRowBytes);
    Tiles::template Dot<0, 4, 6>();
    Tiles::template Dot<1, 4, 7>();
    rows += 2 * kAmxTileElements;
    panel += kAmxTileDepth * kPanelWidth;
  }
  Tiles::template Store<0>(sums, kPanelRowBytes);
  Tiles::template Store<1>(sums + 16, kPanelRowBytes);
}

template <typename Tiles>
void MultiplyAmxFull(const BFloat16* rows, int64_t depth, const BFloat16* panel, bool accumulate,
                     float* sums) {
  float* low = sums + kAmxTileRows * kPanelWidth;
  if (accumulate) {
    Tiles::template Load<0>(sums, kPanelRowBytes);
    Tiles::template Load<1>(sums + 16, kPanelRowBytes);
    Tiles::template Load<2>(low, kPanelRowBytes);
    Tiles::template Load<3>(low + 16, kPanelRowBytes);
  } else {
    Tiles::template Zero<0>();
    Tiles::template Zero<1>();
    Tiles::template Zero<2>();
    Tiles::template Zero<3>();
  }
  for (int64_t k = 0; k < depth; k += kAmxTileDepth) {
    Tiles::template Load<6>(panel, kPanelRowBytes);
    Tiles::template Load<4>(rows, 64);
    Tiles::template Dot<0, 4, 6>();
    Tiles::template Load<7>(panel + 32, kPanelRowBytes);
    Tiles::template Dot<1, 4, 7>();
    Tiles::template Load<5>(rows + kAmxTileElements, 64);
    Tiles::template Dot<2, 5, 6>();
    Tiles::template Dot<3, 5, 7>();
    rows += 2 * kAmxTileElements;
    panel += kAmxTileDepth * kPanelWidth;
  }
  Tiles::template Store<0>(sums, kPanelRowBytes);
  Tiles::template Store<1>(sums + 16, kPanelRowBytes);
  Tiles::template Store<2>(low, kPanelRowBytes);
  Tiles::template Store<3>(low + 16, kPanelRowBytes);
}

template <typename Tiles>
void MultiplyAmx(const void* packed_rows, int num_rows, int64_t depth, const void* panel,
                 bool accumulate, float* accumulators) {
  const BFloat16* rows = static_cast<const BFloat16*>(packed_rows);
  const BFloat16* weights = static_cast<const BFloat16*>(panel);
  if (num_rows <= kAmxTileRows) {
    MultiplyAmxHalf<Tiles>(rows, depth, weights, accumulate, accumulators);
  } else {
    MultiplyAmxFull<Tiles>(rows, depth, weights, accumulate, accumulators);
  }
}

// enter and leave configure and release the processor's tiles on a thread.
template <typename Tiles>
constexpr GemmKernel MakeAmxGemm(void (*enter)(), void (*leave)()) {
  return {.max_rows = kAmxRows,
          .packed_row_bytes_per_depth = sizeof(BFloat16),
          .pads_rows = true,
          .pack_rows = PackAmxRows,
          .multiply = MultiplyAmx<Tiles>,
          .enter_thread = enter,
          .leave_thread = leave};
}
