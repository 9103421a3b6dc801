// What all attention kernels share about rows. Included inside unnamed namespaces, after vec.inl.

// Offset of a head's row in q (or out) with rows `stride` apart.
inline int64_t RowOffset(const AttentionTask& task, int head, int row_of_head, int64_t stride) {
  return row_of_head / task.group_size * stride +
         int64_t{head * task.group_size + row_of_head % task.group_size} * task.head_dim;
}

// The position behind the last that a row of the task sees.
inline int64_t EndOfKeys(const AttentionTask& task) {
  return task.first_position + task.num_query_rows;
}

// Hides the scores of a tile's keys beyond the visible ones.
inline void HideScores(float* scores, int num_visible) {
  for (int i = num_visible > 0 ? num_visible : 0; i < kKeyTile; ++i) scores[i] = -__builtin_inff();
}

// `num` is a multiple of the register's width.
inline void ScaleAll(float* values, int num, Vec factor) {
  for (int i = 0; i < num; i += Vec::kWidth) Store(values + i, Mul(Load(values + i), factor));
}

// Writes a row of `out`.
template <typename T>
void FinishRow(const AttentionTask& task, int head, int row_of_head, const float* accumulator,
               float sum) {
  T* out = static_cast<T*>(task.out) + RowOffset(task, head, row_of_head, task.out_stride);
  const Vec scale = Set(1.0f / sum);
  ForEachVec(task.head_dim, [&](int64_t i, int width) {
    StoreUpTo(out + i, Mul(LoadUpTo(accumulator + i, width), scale), width);
  });
}
