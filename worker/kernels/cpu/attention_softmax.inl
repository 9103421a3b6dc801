// What all attention kernels share: where a row lies, its softmax, and its end. Included inside
// unnamed namespaces, after vec.inl and row_ops.inl.

// Offset of a head's row in q (or out) with rows `stride` apart.
inline int64_t RowOffset(const AttentionTask& task, int head, int row_of_head, int64_t stride) {
  return row_of_head / task.group_size * stride +
         int64_t{head * task.group_size + row_of_head % task.group_size} * task.head_dim;
}

// Turns one row's scores into probabilities relative to the new maximum; the accumulator follows
// the maximum.
inline void SoftmaxRow(float* scores, int num_visible, float scale, float& maximum, float& sum,
                       float* accumulator, int padded_head_dim) {
  if (num_visible <= 0) {
    for (int i = 0; i < kKeyTile; ++i) scores[i] = 0.0f;
    return;
  }
  for (int i = num_visible; i < kKeyTile; ++i) scores[i] = -__builtin_inff();
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
    for (int i = 0; i < padded_head_dim; i += Vec::kWidth) {
      Store(accumulator + i, Mul(Load(accumulator + i), correction));
    }
  }
  Vec tile_sum = Set(0.0f);
  for (int i = 0; i < kKeyTile; i += Vec::kWidth) {
    const Vec probability = Exp(Sub(Load(scores + i), Set(maximum)));
    Store(scores + i, probability);
    tile_sum = Add(tile_sum, probability);
  }
  sum += Sum(tile_sum);
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
