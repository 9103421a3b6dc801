// Attention over the paged cache, one AttentionTask at a time. Included inside the unnamed
// namespace of each kernels_*.cc, after attention_tile.inl and attention_few_rows.inl.
//
// Keys are visited in tiles of kKeyTile positions from position 0 (online softmax, Dao 2023).

// The heads of a tile are visited together, because they lie together in the blocks: a decode step
// reads the cache in long runs.
template <typename T>
void AttentionAs(const AttentionTask& task, float* scratch) {
  const AttentionState state = MakeAttentionState(task, scratch);
  StartRows<T>(task, state);
  for (int i = 0; i < kKeyTile * state.padded_head_dim; ++i) state.values[i] = 0.0f;
  // Every row sees the positions before this one.
  const int64_t seen_by_all = HasFewRows(task, state) ? task.first_position + 1 : 0;
  for (int64_t first = 0; first < EndOfKeys(task); first += kKeyTile) {
    for (int head = 0; head < task.num_kv_heads; ++head) {
      if (first + kKeyTile <= seen_by_all) {
        AttendFewRows<kMaxFewRows, T>(task, state, head, first);
      } else {
        AttendTile<T>(task, state, head, first);
      }
    }
  }
  FinishRows<T>(task, state);
}

template <typename T>
constexpr AttentionKernel kAttention = {.row_multiple = 1, .attend = AttentionAs<T>};
