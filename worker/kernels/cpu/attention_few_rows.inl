// Attention of few query rows, as in a decode, over whole tiles of keys: reads keys and values
// from the cache straight into registers, where attention_tile.inl converts a tile first. The sums
// have the same order, and so the same bits. Included inside the unnamed namespace of each
// kernels_*.cc, after attention_tile.inl.

// More rows are served better by one conversion of the tile.
constexpr int kMaxFewRows = kTileRows < 8 ? kTileRows : 8;

// Vectors of columns whose accumulators fit the registers.
template <int kRows>
constexpr int kFewRowsVecs = kRows * 4 <= kTileRows * kTileVecs ? 4 : kTileVecs;

// Where the keys and values of a tile's vectors of positions lie. Positions of one vector are in
// one block.
template <typename T>
struct TilePointers {
  const T* keys[kKeyTile / Vec::kWidth];    // [head_dim, block_size] from here, block_size apart
  const T* values[kKeyTile / Vec::kWidth];  // [Vec::kWidth, head_dim]
};

template <typename T>
TilePointers<T> FindTile(const AttentionTask& task, int head, int64_t first) {
  TilePointers<T> tile;
  const int block_shift = __builtin_ctz(static_cast<unsigned>(task.block_size));
  const int64_t head_offset = int64_t{head} * task.head_dim * task.block_size;
  for (int i = 0; i < kKeyTile / Vec::kWidth; ++i) {
    const int64_t position = first + i * Vec::kWidth;
    const int64_t block =
        head_offset + task.block_table[position >> block_shift] * task.block_stride;
    const int64_t offset = position & (task.block_size - 1);
    tile.keys[i] = static_cast<const T*>(task.key_cache) + block + offset;
    tile.values[i] = static_cast<const T*>(task.value_cache) + block + offset * task.head_dim;
  }
  return tile;
}

// scores [kRows, kKeyTile] = queries [kRows, head_dim] · keysᵀ. Meanwhile the next tile is fetched.
template <int kRows, typename T>
void ScoreTile(const AttentionTask& task, const float* queries, const TilePointers<T>& tile,
               const TilePointers<T>& next, float* scores) {
  constexpr int kVecs = kFewRowsVecs<kRows>;
  for (int group = 0; group < kKeyTile / Vec::kWidth; group += kVecs) {
    Vec sum[kRows][kVecs];
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) sum[row][v] = Set(0.0f);
    }
    for (int feature = 0; feature < task.head_dim; ++feature) {
      const int64_t offset = int64_t{feature} * task.block_size;
      Vec keys[kVecs];
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) {
        keys[v] = Load(tile.keys[group + v] + offset);
        // A vector's keys and its values take as many bytes.
        _mm_prefetch(reinterpret_cast<const char*>(next.keys[group + v] + offset), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(next.values[group + v] + feature * Vec::kWidth),
                     _MM_HINT_T0);
      }
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const Vec query = Set(queries[row * task.head_dim + feature]);
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) sum[row][v] = MulAdd(query, keys[v], sum[row][v]);
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) {
        Store(scores + row * kKeyTile + (group + v) * Vec::kWidth, sum[row][v]);
      }
    }
  }
}

// accumulators [kRows, head_dim] += probabilities [kRows, kKeyTile] · values
template <int kRows, typename T>
void AddValues(const AttentionTask& task, const float* probabilities, const TilePointers<T>& tile,
               float* accumulators) {
  constexpr int kVecs = kFewRowsVecs<kRows>;
  for (int column = 0; column < task.head_dim; column += kVecs * Vec::kWidth) {
    Vec sum[kRows][kVecs];
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) {
        sum[row][v] = Load(accumulators + row * task.head_dim + column + v * Vec::kWidth);
      }
    }
    for (int position = 0; position < kKeyTile; ++position) {
      const T* value =
          tile.values[position / Vec::kWidth] + position % Vec::kWidth * task.head_dim + column;
      Vec values[kVecs];
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) values[v] = Load(value + v * Vec::kWidth);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const Vec probability = Set(probabilities[row * kKeyTile + position]);
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) sum[row][v] = MulAdd(probability, values[v], sum[row][v]);
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) {
        Store(accumulators + row * task.head_dim + column + v * Vec::kWidth, sum[row][v]);
      }
    }
  }
}

// Whether AttendFewRows can take tiles of this task that every row sees as a whole.
inline bool HasFewRows(const AttentionTask& task, const AttentionState& state) {
  return state.rows_per_head <= kMaxFewRows && task.block_size % Vec::kWidth == 0 &&
         task.head_dim % (4 * Vec::kWidth) == 0 && state.padded_head_dim == task.head_dim;
}

// One tile of keys, all of which every row sees, for the rows of one head.
template <int kRows, typename T>
void AttendFewRows(const AttentionTask& task, const AttentionState& state, int head,
                   int64_t first) {
  if constexpr (kRows > 1) {
    if (state.rows_per_head < kRows) return AttendFewRows<kRows - 1, T>(task, state, head, first);
  }
  const TilePointers<T> tile = FindTile<T>(task, head, first);
  const bool has_next = first + 2 * kKeyTile <= task.context_length;
  const TilePointers<T> next = has_next ? FindTile<T>(task, head, first + kKeyTile) : tile;
  const int first_row = head * kRows;
  float* accumulators = state.accumulators + first_row * task.head_dim;
  ScoreTile<kRows>(task, state.queries + first_row * task.head_dim, tile, next, state.scores);
  for (int row = 0; row < kRows; ++row) {
    SoftmaxRow(state.scores + row * kKeyTile, kKeyTile, task.scale, state.maxima[first_row + row],
               state.sums[first_row + row], accumulators + row * task.head_dim, task.head_dim);
  }
  AddValues<kRows>(task, state.scores, tile, accumulators);
}
