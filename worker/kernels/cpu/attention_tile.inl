// The working set of attention, and one tile of keys for any number of rows: scores = q · kᵀ,
// probabilities, accumulators += probabilities · v, all float32 through the matrix kernels of
// gemm.inl. Included inside the unnamed namespace of each kernels_*.cc, after gemm.inl, row_ops.inl
// and attention_rows.inl.

// The working set of one task, in the scratch memory of its thread.
struct AttentionState {
  int rows_per_head;    // query rows · group size; row r of a head is query row r / group_size
  int num_rows;         // of all heads, head after head
  int padded_head_dim;  // head_dim rounded up to whole register tiles
  float* queries;       // [num_rows, head_dim]
  float* keys;          // [head_dim, kKeyTile]
  float* values;        // [kKeyTile, padded_head_dim]
  float* scores;        // [rows_per_head, kKeyTile], later the probabilities
  float* accumulators;  // [num_rows, padded_head_dim]
  float* maxima;        // [num_rows], of the scaled scores
  float* sums;          // [num_rows], of the probabilities
};

inline AttentionState MakeAttentionState(const AttentionTask& task, float* scratch) {
  AttentionState state;
  state.rows_per_head = task.num_query_rows * task.group_size;
  state.num_rows = state.rows_per_head * task.num_kv_heads;
  state.padded_head_dim = (task.head_dim + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
  state.keys = scratch;
  state.values = state.keys + kKeyTile * kMaxHeadDim;
  state.queries = state.values + kKeyTile * kMaxHeadDim;
  state.accumulators = state.queries + kMaxAttentionRows * kMaxHeadDim;
  state.scores = state.accumulators + kMaxAttentionRows * kMaxHeadDim;
  state.maxima = state.scores + kMaxAttentionRows * kKeyTile;
  state.sums = state.maxima + kMaxAttentionRows;
  return state;
}

template <typename T>
void StartRows(const AttentionTask& task, const AttentionState& state) {
  for (int row = 0; row < state.num_rows; ++row) {
    const T* in =
        static_cast<const T*>(task.q) +
        RowOffset(task, row / state.rows_per_head, row % state.rows_per_head, task.q_stride);
    float* query = state.queries + row * task.head_dim;
    ForEachVec(task.head_dim,
               [&](int64_t i, int width) { StoreUpTo(query + i, LoadUpTo(in + i, width), width); });
    float* accumulator = state.accumulators + row * state.padded_head_dim;
    for (int i = 0; i < state.padded_head_dim; ++i) accumulator[i] = 0.0f;
    state.maxima[row] = -__builtin_inff();
    state.sums[row] = 0.0f;
  }
}

// in [num_rows, num_columns] of T, or zeros where null, to float32 rows.
template <typename T>
inline void ConvertRows(const T* in, int64_t in_stride, int num_rows, int num_columns, float* out,
                        int64_t out_stride) {
  for (int row = 0; row < num_rows; ++row, out += out_stride) {
    ForEachVec(num_columns, [&](int64_t i, int width) {
      StoreUpTo(out + i, in == nullptr ? Set(0.0f) : LoadUpTo(in + row * in_stride + i, width),
                width);
    });
  }
}

// Converts one head's keys and values of positions [first, first + kKeyTile) to float32. Values of
// positions that are not in the context become zeros, because the cache may hold anything there;
// their scores are masked.
template <typename T>
void LoadKeysAndValues(const AttentionTask& task, const AttentionState& state, int head,
                       int64_t first) {
  const int run =
      task.block_size < kKeyTile ? task.block_size : kKeyTile;  // positions that lie in one block
  const int block_shift = __builtin_ctz(static_cast<unsigned>(task.block_size));
  const int64_t head_offset = int64_t{head} * task.head_dim * task.block_size;
  for (int begin = 0; begin < kKeyTile; begin += run) {
    const int64_t position = first + begin;
    const int64_t left = task.context_length - position;
    const int num_valid = left <= 0 ? 0 : left < run ? static_cast<int>(left) : run;
    const T* key = nullptr;
    const T* value = nullptr;
    if (num_valid > 0) {
      const int64_t block =
          head_offset + task.block_table[position >> block_shift] * task.block_stride;
      const int64_t offset = position & (task.block_size - 1);
      key = static_cast<const T*>(task.key_cache) + block + offset;
      value = static_cast<const T*>(task.value_cache) + block + offset * task.head_dim;
    }
    ConvertRows(key, task.block_size, task.head_dim, run, state.keys + begin, kKeyTile);
    float* values = state.values + begin * state.padded_head_dim;
    ConvertRows(value, task.head_dim, num_valid, task.head_dim, values, state.padded_head_dim);
    ConvertRows<T>(nullptr, 0, run - num_valid, task.head_dim,
                   values + num_valid * state.padded_head_dim, state.padded_head_dim);
  }
}

// c [num_rows, num_columns] (+)= a [num_rows, depth] · b [depth, num_columns], all dense but b.
void MultiplyDense(int num_rows, int num_columns, const float* a, int depth, const float* b,
                   int b_stride, float* c, bool accumulate) {
  for (int row = 0; row < num_rows; row += kTileRows) {
    const int rows = num_rows - row < kTileRows ? num_rows - row : kTileRows;
    MultiplyRows<kTileRows>(rows, num_columns, a + row * depth, depth, 1, depth, b, b_stride,
                            c + row * num_columns, num_columns, accumulate);
  }
}

// Turns one row's scores into probabilities relative to the new maximum; the accumulator follows
// the maximum.
inline void SoftmaxRow(float* scores, int num_visible, float scale, float& maximum, float& sum,
                       float* accumulator, int padded_head_dim) {
  if (num_visible <= 0) {
    for (int i = 0; i < kKeyTile; ++i) scores[i] = 0.0f;
    return;
  }
  HideScores(scores, num_visible);
  Vec tile_maximum = Set(-__builtin_inff());
  for (int i = 0; i < kKeyTile; i += Vec::kWidth) {
    const Vec scaled = Mul(Load(scores + i), Set(scale));
    Store(scores + i, scaled);
    tile_maximum = Max(tile_maximum, scaled);
  }
  const float highest = Maximum(tile_maximum);
  if (highest > maximum) {
    const Vec correction = Exp(Set(maximum - highest));
    maximum = highest;
    sum *= Maximum(correction);  // any lane
    ScaleAll(accumulator, padded_head_dim, correction);
  }
  Vec tile_sum = Set(0.0f);
  for (int i = 0; i < kKeyTile; i += Vec::kWidth) {
    const Vec probability = Exp(Sub(Load(scores + i), Set(maximum)));
    Store(scores + i, probability);
    tile_sum = Add(tile_sum, probability);
  }
  sum += Sum(tile_sum);
}

template <typename T>
void FinishRows(const AttentionTask& task, const AttentionState& state) {
  for (int row = 0; row < state.num_rows; ++row) {
    FinishRow<T>(task, row / state.rows_per_head, row % state.rows_per_head,
                 state.accumulators + row * state.padded_head_dim, state.sums[row]);
  }
}

// One tile of keys for the rows of one head.
template <typename T>
void AttendTile(const AttentionTask& task, const AttentionState& state, int head, int64_t first) {
  LoadKeysAndValues<T>(task, state, head, first);
  const int first_row = head * state.rows_per_head;
  float* accumulators = state.accumulators + first_row * state.padded_head_dim;
  MultiplyDense(state.rows_per_head, kKeyTile, state.queries + first_row * task.head_dim,
                task.head_dim, state.keys, kKeyTile, state.scores, false);
  for (int row = 0; row < state.rows_per_head; ++row) {
    const int64_t visible = task.first_position + row / task.group_size - first + 1;
    SoftmaxRow(state.scores + row * kKeyTile,
               visible < kKeyTile ? static_cast<int>(visible) : kKeyTile, task.scale,
               state.maxima[first_row + row], state.sums[first_row + row],
               accumulators + row * state.padded_head_dim, state.padded_head_dim);
  }
  MultiplyDense(state.rows_per_head, state.padded_head_dim, state.scores, kKeyTile, state.values,
                state.padded_head_dim, accumulators, true);
}
