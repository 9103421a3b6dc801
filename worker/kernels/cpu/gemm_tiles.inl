// Included inside unnamed namespaces of the matrix product kernels.

// Calls multiply(packed rows, number of rows, sums) for one tile after the other.
template <typename Function>
void ForEachTile(const PackedRows& rows, float* sums, const TileDone& done,
                 const Function& multiply) {
  const char* packed = static_cast<const char*>(rows.tiles);
  int64_t left = rows.num_rows;
  for (int64_t tile = 0; left > 0; ++tile, left -= rows.rows_per_tile) {
    multiply(packed, static_cast<int>(left < rows.rows_per_tile ? left : rows.rows_per_tile), sums);
    if (done.call != nullptr) done.call(done.context, tile);
    packed += rows.tile_bytes;
    sums += rows.rows_per_tile * kPanelWidth;
  }
}
