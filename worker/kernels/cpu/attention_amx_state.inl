// The working set of attention on AMX, and how queries, keys and values get into the layout of
// tiles. Included inside an unnamed namespace, after vec.inl, attention_rows.inl and
// amx_layout.inl.

constexpr int kAmxKeyGroups = kKeyTile / kAmxTileRows;       // columns of scores, in tiles
constexpr int kAmxPositionTiles = kKeyTile / kAmxTileDepth;  // depth of probabilities · values

#if defined(__AVX512F__)
// 0, 16, 1, 17, …: the first half of a register beside the second.
inline __m512i InterleavingOrder() {
  const __m512i even = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_or_si512(even,
                         _mm512_slli_epi32(_mm512_add_epi32(even, _mm512_set1_epi32(16)), 16));
}
#endif

// out [num, 2] = the elements of a and b side by side.
inline void InterleaveRows(const BFloat16* a, const BFloat16* b, int num, BFloat16* out) {
#if defined(__AVX512F__)
  if (num == kAmxTileRows) {
    const __m512i rows = _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(a))),
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)), 1);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(InterleavingOrder(), rows));
    return;
  }
#endif
  for (int i = 0; i < num; ++i) {
    out[2 * i] = a[i];
    out[2 * i + 1] = b[i];
  }
}

// The working set of one task. Rows of a head are padded to whole tiles.
struct AmxAttentionState {
  int rows_per_head, num_row_groups, num_rows;  // num_rows: of all heads, padded
  int num_depth_tiles;                          // of head_dim
  int padded_head_dim;                          // to two tiles of columns
  BFloat16* queries;                            // [heads, row groups, depth tiles, 16, 32]
  BFloat16* keys[2];        // of a tile and of the next: [key groups, depth tiles, 16, 32], pairs
                            // of features
  BFloat16* values;         // [position tiles, columns / 16, 16, 32]: pairs of positions
  BFloat16* probabilities;  // of a head: [2: high and low parts, row groups, position tiles, 16,
                            // 32]
  float* scores;            // of a head: [row groups, 16, kKeyTile]
  float* accumulators;      // [num_rows, padded_head_dim]
  float* maxima;            // [num_rows], which the scores exceed by little; scaled, as powers of 2
  float* sums;              // [num_rows, 16], of the probabilities; to be added up
};

constexpr int64_t kAmxLowPart = kMaxAttentionRows * kKeyTile;
constexpr int kAmxScores = kMaxAttentionRows * kKeyTile;
static_assert(kMaxAttentionRows == kKeyTile && kMaxHeadDim % kAmxTileDepth == 0);
static_assert(kAttentionScratchFloats >= 2 * kMaxAttentionRows * kMaxHeadDim + kAmxLowPart +
                                             kAmxScores + kMaxAttentionRows * kMaxHeadDim +
                                             17 * kMaxAttentionRows);

inline AmxAttentionState MakeAmxState(const AttentionTask& task, float* scratch) {
  AmxAttentionState state;
  state.rows_per_head = task.num_query_rows * task.group_size;
  state.num_row_groups = (state.rows_per_head + kAmxTileRows - 1) / kAmxTileRows;
  state.num_rows = task.num_kv_heads * state.num_row_groups * kAmxTileRows;
  state.num_depth_tiles = (task.head_dim + kAmxTileDepth - 1) / kAmxTileDepth;
  state.padded_head_dim = (task.head_dim + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
  constexpr int kElements = kMaxAttentionRows * kMaxHeadDim;
  state.queries = reinterpret_cast<BFloat16*>(scratch);
  state.keys[0] = state.queries + kElements;
  state.keys[1] = state.keys[0] + kElements;
  state.values = state.keys[1] + kElements;
  state.probabilities = state.values + kElements;
  state.scores = scratch + 2 * kElements + kAmxLowPart;
  state.accumulators = state.scores + kAmxScores;
  state.maxima = state.accumulators + kElements;
  state.sums = state.maxima + kMaxAttentionRows;
  return state;
}

inline void ZeroElements(BFloat16* p, int64_t num) {
  __builtin_memset(p, 0, static_cast<size_t>(num) * sizeof(BFloat16));
}

inline void StartAmxRows(const AttentionTask& task, const AmxAttentionState& state) {
  const int64_t row_group = int64_t{state.num_depth_tiles} * kAmxTileElements;
  ZeroElements(state.queries, state.num_rows / kAmxTileRows * row_group);
  for (BFloat16* keys : state.keys) ZeroElements(keys, kAmxKeyGroups * row_group);
  ZeroElements(state.values, int64_t{kKeyTile} * state.padded_head_dim);
  ZeroElements(state.probabilities, 2 * kAmxLowPart);
  const BFloat16* q = static_cast<const BFloat16*>(task.q);
  for (int head = 0; head < task.num_kv_heads; ++head) {
    for (int row = 0; row < state.rows_per_head; ++row) {
      const BFloat16* in = q + RowOffset(task, head, row, task.q_stride);
      const int group = head * state.num_row_groups + row / kAmxTileRows;
      BFloat16* out =
          state.queries + group * row_group + row % kAmxTileRows * int64_t{kAmxTileDepth};
      for (int i = 0; i < task.head_dim; i += kAmxTileDepth, out += kAmxTileElements) {
        CopyAmxRow(in + i, task.head_dim - i, out);
      }
    }
  }
  for (int i = 0; i < state.num_rows * state.padded_head_dim; ++i) state.accumulators[i] = 0.0f;
  for (int row = 0; row < state.num_rows; ++row) {
    state.maxima[row] = -__builtin_inff();
    for (int i = 0; i < kAmxTileRows; ++i) state.sums[row * kAmxTileRows + i] = 0.0f;
  }
}

// Positions of a tile of keys that lie side by side in the cache.
struct AmxRun {
  const BFloat16* keys;    // [head_dim, block_size] from here
  const BFloat16* values;  // [num positions, head_dim]
  int num_valid;           // of the context; 0: the pointers are null
};

// A tile of keys of one head. The heads of a tile follow each other, because they lie together in
// the blocks.
struct AmxStep {
  int64_t first = 0;  // position
  int head = 0;
};

inline AmxStep NextStep(const AttentionTask& task, const AmxStep& step) {
  if (step.head + 1 < task.num_kv_heads) return {step.first, step.head + 1};
  return {step.first + kKeyTile, 0};
}

inline int RunPositions(const AttentionTask& task) {
  return task.block_size < kAmxTileRows ? task.block_size : kAmxTileRows;
}

// The run of positions from step.first + offset.
inline AmxRun FindAmxRun(const AttentionTask& task, const AmxStep& step, int offset) {
  const int64_t position = step.first + offset, left = task.context_length - position;
  if (left <= 0) return {nullptr, nullptr, 0};
  const int block_shift = __builtin_ctz(static_cast<unsigned>(task.block_size));
  const int64_t head = int64_t{step.head} * task.head_dim * task.block_size +
                       task.block_table[position >> block_shift] * task.block_stride;
  const int64_t in_block = position & (task.block_size - 1);
  const int run = RunPositions(task);
  return {static_cast<const BFloat16*>(task.key_cache) + head + in_block,
          static_cast<const BFloat16*>(task.value_cache) + head + in_block * task.head_dim,
          left < run ? static_cast<int>(left) : run};
}

// Keys of positions beyond the context are whatever is there: their scores are masked. Meanwhile
// those of the head's next tile are fetched.
inline void LoadAmxKeys(const AttentionTask& task, const AmxAttentionState& state,
                        const AmxStep& step, BFloat16* keys_of_tile) {
  const int64_t pair = int64_t{2} * task.block_size;
  const int run_positions = RunPositions(task);
  for (int position = 0; position < kKeyTile; position += run_positions) {
    const AmxRun run = FindAmxRun(task, step, position);
    if (run.num_valid == 0) continue;
    const AmxRun next = FindAmxRun(task, step, position + kKeyTile);
    const BFloat16* keys = run.keys;
    const BFloat16* ahead = next.num_valid > 0 ? next.keys : keys;
    BFloat16* out = keys_of_tile +
                    int64_t{position / kAmxTileRows} * state.num_depth_tiles * kAmxTileElements +
                    2 * (position % kAmxTileRows);
    for (int feature = 0; feature < task.head_dim; feature += 2) {
      __builtin_prefetch(ahead, 0, 2);
      InterleaveRows(keys, keys + task.block_size, run_positions, out);
      keys += pair;
      ahead += pair;
      out += kAmxTileDepth;
    }
  }
}

// Values of positions beyond the context become zeros, as are their probabilities.
inline void LoadAmxValues(const AttentionTask& task, const AmxAttentionState& state,
                          const AmxStep& step) {
  alignas(64) static constexpr BFloat16 kZeros[kMaxHeadDim] = {};
  const int64_t position_tile = int64_t{state.padded_head_dim} * kAmxTileDepth;
  const int run_positions = RunPositions(task);
  for (int position = 0; position < kKeyTile; position += run_positions) {
    const AmxRun run = FindAmxRun(task, step, position);
    const AmxRun next = FindAmxRun(task, step, position + kKeyTile);
    const BFloat16* ahead = next.num_valid > 0 ? next.values : run.values;
    for (int i = 0; i < run_positions; i += 2) {
      const int64_t offset = int64_t{i} * task.head_dim;
      const BFloat16* even = i < run.num_valid ? run.values + offset : kZeros;
      const BFloat16* odd = i + 1 < run.num_valid ? run.values + offset + task.head_dim : kZeros;
      BFloat16* out = state.values + (position + i) / kAmxTileDepth * position_tile +
                      (position + i) % kAmxTileDepth / 2 * kAmxTileDepth;
      for (int column = 0; column < task.head_dim; column += kAmxTileRows) {
        const int left = task.head_dim - column;
        if (ahead != nullptr) __builtin_prefetch(ahead + offset + 2 * column, 0, 2);
        InterleaveRows(even + column, odd + column, left < kAmxTileRows ? left : kAmxTileRows, out);
        out += kAmxTileElements;
      }
    }
  }
}
