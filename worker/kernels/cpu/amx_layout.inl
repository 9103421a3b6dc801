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
