// What products and attention share about AMX tiles. Included inside an unnamed namespace. `Tiles`
// is the tile register file: the processor's (amx_tiles.inl), or a model of it, with which the
// tests check this code on processors without AMX.
//
//   Tiles::Zero<t>()                      tile t = 0
//   Tiles::Load<t>(p, bytes)              tile t = 16 rows of 64 bytes, `bytes` apart
//   Tiles::LoadOnce<t>(p, bytes)          as Load, of what is not loaded again soon
//   Tiles::Store<t>(p, bytes)             the reverse
//   Tiles::Dot<sums, rows, columns>()     tile `sums` [16, 16] += tile `rows` [16, 16 pairs] ·
//                                         tile `columns` [16 pairs, 16]

constexpr int kAmxTileRows = 16;   // of any tile
constexpr int kAmxTileDepth = 32;  // bfloat16 values per row of a tile
constexpr int64_t kAmxTileRowBytes = 64;
constexpr int kAmxTileElements = kAmxTileRows * kAmxTileDepth;

// A row of a tile: the first `num` elements of `in`, then zeros; `num` may be anything.
inline void CopyAmxRow(const BFloat16* in, int64_t num, BFloat16* out) {
  if (num >= kAmxTileDepth) {
    __builtin_memcpy(out, in, kAmxTileRowBytes);  // of a constant size: a few instructions
    return;
  }
  for (int i = 0; i < kAmxTileDepth; ++i) out[i] = i < num ? in[i] : BFloat16{0};
}

// A block of sums: 16 · kGroups rows (kGroups is 1 or 2) by 32 columns, in tiles 0 to 3.

// The block += rows · columns, for 32 of depth. Each is two tiles, the second one `stride` elements
// behind the first; rows of the columns' tiles, which are pairs of depths, are column_row_bytes
// apart.
template <typename Tiles, int kGroups>
void AddAmxProducts(const BFloat16* rows, int64_t row_stride, const BFloat16* columns,
                    int64_t column_stride, int64_t column_row_bytes) {
  Tiles::template Load<6>(columns, column_row_bytes);
  Tiles::template Load<4>(rows, kAmxTileRowBytes);
  Tiles::template Dot<0, 4, 6>();
  if constexpr (kGroups > 1) {
    Tiles::template Load<5>(rows + row_stride, kAmxTileRowBytes);
    Tiles::template Dot<2, 5, 6>();
  }
  Tiles::template Load<7>(columns + column_stride, column_row_bytes);
  Tiles::template Dot<1, 4, 7>();
  if constexpr (kGroups > 1) Tiles::template Dot<3, 5, 7>();
}

template <typename Tiles, int kGroups>
void ZeroAmxBlock() {
  Tiles::template Zero<0>();
  Tiles::template Zero<1>();
  if constexpr (kGroups > 1) {
    Tiles::template Zero<2>();
    Tiles::template Zero<3>();
  }
}

template <typename Tiles, int kGroups>
void LoadAmxBlock(const float* c, int64_t stride) {
  const int64_t row_bytes = stride * 4;
  Tiles::template Load<0>(c, row_bytes);
  Tiles::template Load<1>(c + 16, row_bytes);
  if constexpr (kGroups > 1) {
    Tiles::template Load<2>(c + kAmxTileRows * stride, row_bytes);
    Tiles::template Load<3>(c + kAmxTileRows * stride + 16, row_bytes);
  }
}

template <typename Tiles, int kGroups>
void StoreAmxBlock(float* c, int64_t stride) {
  const int64_t row_bytes = stride * 4;
  Tiles::template Store<0>(c, row_bytes);
  Tiles::template Store<1>(c + 16, row_bytes);
  if constexpr (kGroups > 1) {
    Tiles::template Store<2>(c + kAmxTileRows * stride, row_bytes);
    Tiles::template Store<3>(c + kAmxTileRows * stride + 16, row_bytes);
  }
}
