// Included inside unnamed namespaces of the matrix product kernels.

// Calls multiply(packed rows, number of rows, panel, sums) for one tile after the other, panel
// after panel.
template <typename Function>
void ForEachTile(const PackedRows& rows, const PanelBlocks& panels, float* sums,
                 const TileDone& done, const Function& multiply) {
  for (int panel = 0; panel < panels.num_panels; ++panel) {
    const bool is_done = panel + 1 == panels.num_panels && done.call != nullptr;
    const char* packed = static_cast<const char*>(rows.tiles);
    float* tile_sums = sums + panel * panels.sums_stride;
    int64_t left = rows.num_rows;
    for (int64_t tile = 0; left > 0; ++tile, left -= rows.rows_per_tile) {
      const int64_t num_rows = left < rows.rows_per_tile ? left : rows.rows_per_tile;
      multiply(packed, static_cast<int>(num_rows), panels.weights[panel], tile_sums);
      if (is_done) done.call(done.context, tile);
      packed += rows.tile_bytes;
      tile_sums += rows.rows_per_tile * kPanelWidth;
    }
  }
}
