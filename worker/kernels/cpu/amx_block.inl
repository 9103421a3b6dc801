// A block of sums in AMX tiles: 16 · kGroups rows (kGroups is 1 or 2) by 32 columns. Included
// inside an unnamed namespace. `Tiles` is the tile register file: the processor's (amx_tiles.inl),
// or a model of it, with which the tests check this code on processors without AMX.
//
//   Tiles::Zero<t>()              tile t = 0
//   Tiles::Load<t>(p, bytes)      tile t = 16 rows of 64 bytes, `bytes` apart
//   Tiles::Store<t>(p, bytes)     the reverse
//   Tiles::Dot<row, column>()     tile 2 row + column [16, 16] +=
//                                 tile 4 + row [16, 16 pairs] · tile 6 + column [16 pairs, 16]

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

// The block += rows · columns, for 32 of depth. Each is two tiles, the second one `stride` elements
// behind the first; rows of the columns' tiles, which are pairs of depths, are column_row_bytes
// apart.
template <typename Tiles, int kGroups>
void AddAmxProducts(const BFloat16* rows, int64_t row_stride, const BFloat16* columns,
                    int64_t column_stride, int64_t column_row_bytes) {
  Tiles::template Load<6>(columns, column_row_bytes);
  Tiles::template Load<4>(rows, kAmxTileRowBytes);
  Tiles::template Dot<0, 0>();
  if constexpr (kGroups > 1) {
    Tiles::template Load<5>(rows + row_stride, kAmxTileRowBytes);
    Tiles::template Dot<1, 0>();
  }
  Tiles::template Load<7>(columns + column_stride, column_row_bytes);
  Tiles::template Dot<0, 1>();
  if constexpr (kGroups > 1) Tiles::template Dot<1, 1>();
}

// A group is the block's rows 0-15 or 16-31; its sums c are `stride` elements apart.
template <typename Tiles, int kGroup>
void ZeroAmxGroup() {
  Tiles::template Zero<2 * kGroup>();
  Tiles::template Zero<2 * kGroup + 1>();
}

template <typename Tiles, int kGroup>
void LoadAmxGroup(const float* c, int64_t stride) {
  const float* group = c + kGroup * kAmxTileRows * stride;
  Tiles::template Load<2 * kGroup>(group, stride * 4);
  Tiles::template Load<2 * kGroup + 1>(group + kAmxTileRows, stride * 4);
}

template <typename Tiles, int kGroup>
void StoreAmxGroup(float* c, int64_t stride) {
  float* group = c + kGroup * kAmxTileRows * stride;
  Tiles::template Store<2 * kGroup>(group, stride * 4);
  Tiles::template Store<2 * kGroup + 1>(group + kAmxTileRows, stride * 4);
}

template <typename Tiles, int kGroups>
void ZeroAmxBlock() {
  ZeroAmxGroup<Tiles, 0>();
  if constexpr (kGroups > 1) ZeroAmxGroup<Tiles, 1>();
}

template <typename Tiles, int kGroups>
void LoadAmxBlock(const float* c, int64_t stride) {
  LoadAmxGroup<Tiles, 0>(c, stride);
  if constexpr (kGroups > 1) LoadAmxGroup<Tiles, 1>(c, stride);
}

template <typename Tiles, int kGroups>
void StoreAmxBlock(float* c, int64_t stride) {
  StoreAmxGroup<Tiles, 0>(c, stride);
  if constexpr (kGroups > 1) StoreAmxGroup<Tiles, 1>(c, stride);
}
