// Attention of bfloat16 on AMX tiles, for any number of rows: scores = q · kᵀ from the exact
// products of bfloat16; probabilities as sums of two bfloat16 each, so that they keep 16 bits,
// times v. Included inside an unnamed namespace, after attention_amx_state.inl.

// 2^x for x <= 0, to within 2 units in the last place; 0 below -100, beside a sum of at least 1 no
// difference, so that no part of it is denormal: those are slow. The coefficients are those of the
// minimax polynomial of 2^f on |f| <= 1/2 (relative error 7.5e-8).
inline Vec Exp2(Vec x) {
  const Vec lowest = Set(-100.0f);
#if defined(__AVX512F__)
  const Vec clamped = Max(x, lowest);
  const Vec n = Round(clamped), f = Sub(clamped, n);
  Vec p = Set(1.3276470e-3f);
  p = MulAdd(p, f, Set(9.6755410e-3f));
  p = MulAdd(p, f, Set(5.5507131e-2f));
  p = MulAdd(p, f, Set(2.4022120e-1f));
  p = MulAdd(p, f, Set(6.9314694e-1f));
  p = MulAdd(p, f, Set(1.0000001f));
  return ZeroWhereLess(Scale(p, n), x, lowest);
#else
  return ZeroWhereLess(Exp(Mul(x, Set(0.693147181f))), x, lowest);
#endif
}

// Stores kAmxTileDepth probabilities in two parts, whose sum keeps 16 bits: `high` and, at
// high + kAmxLowPart, what it lacks.
inline void StoreParts(const Vec (&values)[kAmxTileDepth / Vec::kWidth], BFloat16* high) {
#if defined(__AVX512BF16__)
  // Whole cache lines, because tiles are loaded from them. Cut off, the first part is exact.
  const __m512 cut = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  const __m512 first = _mm512_and_ps(values[0].v, cut), second = _mm512_and_ps(values[1].v, cut);
  _mm512_storeu_si512(high, (__m512i)_mm512_cvtne2ps_pbh(second, first));
  _mm512_storeu_si512(high + kAmxLowPart,
                      (__m512i)_mm512_cvtne2ps_pbh(_mm512_sub_ps(values[1].v, second),
                                                   _mm512_sub_ps(values[0].v, first)));
#else
  for (const Vec& value : values) {
    Store(high, value);
    Store(high + kAmxLowPart, Sub(value, Load(high)));
    high += Vec::kWidth;
  }
#endif
}

// A block of sums: 16 · kGroups rows (kGroups is 1 or 2) by 32 columns, in tiles 0 to 3.

// The block += rows · columns, for 32 of depth. Each is two tiles, the second one `stride` elements
// behind the first; the columns' tiles are of pairs of depths.
template <typename Tiles, int kGroups>
void AddAmxProducts(const BFloat16* rows, int64_t row_stride, const BFloat16* columns,
                    int64_t column_stride) {
  Tiles::template Load<6>(columns, kAmxTileRowBytes);
  Tiles::template Load<4>(rows, kAmxTileRowBytes);
  Tiles::template Dot<0, 4, 6>();
  if constexpr (kGroups > 1) {
    Tiles::template Load<5>(rows + row_stride, kAmxTileRowBytes);
    Tiles::template Dot<2, 5, 6>();
  }
  Tiles::template Load<7>(columns + column_stride, kAmxTileRowBytes);
  Tiles::template Dot<1, 4, 7>();
  if constexpr (kGroups > 1) Tiles::template Dot<3, 5, 7>();
}

template <typename Tiles, int kGroups>
void ZeroAmxBlock() {
  Tiles::template Zero<0>();
  Tiles::template Zero<1>();
  if constexpr (kGroups > 1) {
    Tiles::template Zero<2>();
    Tiles::template Zero<3>();
  }
}

template <typename Tiles, int kGroups>
void LoadAmxBlock(const float* c, int64_t stride) {
  const int64_t row_bytes = stride * 4;
  Tiles::template Load<0>(c, row_bytes);
  Tiles::template Load<1>(c + 16, row_bytes);
  if constexpr (kGroups > 1) {
    Tiles::template Load<2>(c + kAmxTileRows * stride, row_bytes);
    Tiles::template Load<3>(c + kAmxTileRows * stride + 16, row_bytes);
  }
}

template <typename Tiles, int kGroups>
void StoreAmxBlock(float* c, int64_t stride) {
  const int64_t row_bytes = stride * 4;
  Tiles::template Store<0>(c, row_bytes);
  Tiles::template Store<1>(c + 16, row_bytes);
  if constexpr (kGroups > 1) {
    Tiles::template Store<2>(c + kAmxTileRows * stride, row_bytes);
    Tiles::template Store<3>(c + kAmxTileRows * stride + 16, row_bytes);
  }
}

// Tiles along the depth, and from one group of 16 rows (or columns) to the next.
struct AmxOperand {
  const BFloat16* tiles;
  int64_t group_stride, depth_stride;  // elements
};

template <typename Tiles, int kGroups>
void MultiplyAmxBlock(const AmxOperand& a, const AmxOperand& b, int num_depth_tiles) {
  const BFloat16* rows = a.tiles;
  const BFloat16* columns = b.tiles;
  for (int k = 0; k < num_depth_tiles; ++k, rows += a.depth_stride, columns += b.depth_stride) {
    AddAmxProducts<Tiles, kGroups>(rows, a.group_stride, columns, b.group_stride);
  }
}

// Scores of the head's row groups from `group`.
template <typename Tiles, int kGroups>
void ScoreAmxRows(const AmxAttentionState& state, int head, int group, const BFloat16* keys) {
  const int64_t stride = int64_t{state.num_depth_tiles} * kAmxTileElements;
  const BFloat16* queries = state.queries + (head * state.num_row_groups + group) * stride;
  float* scores = state.scores + group * kAmxTileRows * kKeyTile;
  for (int column = 0; column < kAmxKeyGroups; column += 2) {
    ZeroAmxBlock<Tiles, kGroups>();
    MultiplyAmxBlock<Tiles, kGroups>({queries, stride, kAmxTileElements},
                                     {keys + column * stride, stride, kAmxTileElements},
                                     state.num_depth_tiles);
    StoreAmxBlock<Tiles, kGroups>(scores + column * kAmxTileRows, kKeyTile);
  }
}

// A row's maximum follows its scores when they exceed it by so much, as powers of two: sums have
// room for that, and few tiles of keys make rows be scaled.
constexpr float kLog2Headroom = 8.0f;

// Makes room for a row's scores of a tile: where its maximum follows them, its accumulator and its
// sums are scaled. `log2_scale` is the scale of the scores times log2(e); the maximum includes it.
inline void FollowScores(const float* scores, float log2_scale, float& maximum, float* sums,
                         float* accumulator, int padded_head_dim) {
  Vec tile_maximum = Load(scores);
  for (int i = Vec::kWidth; i < kKeyTile; i += Vec::kWidth) {
    tile_maximum = Max(tile_maximum, Load(scores + i));
  }
  const float highest = Maximum(tile_maximum) * log2_scale;
  if (!(highest > maximum + kLog2Headroom)) return;
  const Vec correction = Exp2(Set(maximum - highest));
  maximum = highest;
  ScaleAll(sums, kAmxTileRows, correction);
  ScaleAll(accumulator, padded_head_dim, correction);
}

// Turns a row's scores into the two parts of its probabilities relative to its maximum.
inline void SoftmaxAmxRow(const float* scores, float log2_scale, float maximum, float* sums,
                          BFloat16* probabilities) {
  constexpr int kVecs = kAmxTileDepth / Vec::kWidth, kSums = kAmxTileRows / Vec::kWidth;
  const Vec scale = Set(log2_scale), offset = Set(-maximum);
  Vec row_sums[kSums];
  for (int i = 0; i < kSums; ++i) row_sums[i] = Load(sums + i * Vec::kWidth);
  for (int tile = 0; tile < kAmxPositionTiles; ++tile, scores += kAmxTileDepth) {
    Vec values[kVecs];
    for (int i = 0; i < kVecs; ++i) {
      values[i] = Exp2(MulAdd(Load(scores + i * Vec::kWidth), scale, offset));
      row_sums[i % kSums] = Add(row_sums[i % kSums], values[i]);
    }
    StoreParts(values, probabilities + tile * kAmxTileElements);
  }
  for (int i = 0; i < kSums; ++i) Store(sums + i * Vec::kWidth, row_sums[i]);
}

inline void SoftmaxAmxRows(const AttentionTask& task, const AmxAttentionState& state,
                           const AmxStep& step) {
  constexpr float kLog2E = 1.44269504f;
  const float log2_scale = task.scale * kLog2E;
  const int first_row = step.head * state.num_row_groups * kAmxTileRows;
  for (int i = 0; i < state.rows_per_head; ++i) {
    const int row = first_row + i;
    float* scores = state.scores + i * kKeyTile;
    float* sums = state.sums + row * kAmxTileRows;
    const int64_t visible = task.first_position + i / task.group_size - step.first + 1;
    HideScores(scores, visible < kKeyTile ? static_cast<int>(visible) : kKeyTile);
    FollowScores(scores, log2_scale, state.maxima[row], sums,
                 state.accumulators + row * state.padded_head_dim, state.padded_head_dim);
    SoftmaxAmxRow(scores, log2_scale, state.maxima[row], sums,
                  state.probabilities + i / kAmxTileRows * kAmxPositionTiles * kAmxTileElements +
                      i % kAmxTileRows * kAmxTileDepth);
  }
}

// Accumulators of the head's row groups from `group` += probabilities · values.
template <typename Tiles, int kGroups>
void AddAmxValues(const AmxAttentionState& state, int head, int group) {
  constexpr int64_t kGroupStride = kAmxPositionTiles * kAmxTileElements;
  const BFloat16* probabilities = state.probabilities + group * kGroupStride;
  const AmxOperand high = {probabilities, kGroupStride, kAmxTileElements};
  const AmxOperand low = {probabilities + kAmxLowPart, kGroupStride, kAmxTileElements};
  const int stride = state.padded_head_dim;
  float* rows = state.accumulators + (head * state.num_row_groups + group) * kAmxTileRows * stride;
  for (int column = 0; column < stride; column += 2 * kAmxTileRows) {
    const AmxOperand values = {state.values + column * kAmxTileDepth, kAmxTileElements,
                               int64_t{stride} * kAmxTileDepth};
    LoadAmxBlock<Tiles, kGroups>(rows + column, stride);
    MultiplyAmxBlock<Tiles, kGroups>(high, values, kAmxPositionTiles);
    MultiplyAmxBlock<Tiles, kGroups>(low, values, kAmxPositionTiles);
    StoreAmxBlock<Tiles, kGroups>(rows + column, stride);
  }
}

// One tile of keys for one head, whose keys are in buffer `parity`. What waits for the tile
// registers, and they for memory that was just written, stands apart from what they wait for: the
// values are interleaved behind the scores, and the next step's keys behind the probabilities.
template <typename Tiles>
void AttendAmxTile(const AttentionTask& task, const AmxAttentionState& state, const AmxStep& step,
                   int parity) {
  const int num_groups = state.num_row_groups, whole = num_groups / 2 * 2;
  for (int group = 0; group < whole; group += 2) {
    ScoreAmxRows<Tiles, 2>(state, step.head, group, state.keys[parity]);
  }
  if (whole < num_groups) ScoreAmxRows<Tiles, 1>(state, step.head, whole, state.keys[parity]);
  LoadAmxValues(task, state, step);
  SoftmaxAmxRows(task, state, step);
  const AmxStep next = NextStep(task, step);
  if (next.first < EndOfKeys(task)) LoadAmxKeys(task, state, next, state.keys[1 - parity]);
  for (int group = 0; group < whole; group += 2) AddAmxValues<Tiles, 2>(state, step.head, group);
  if (whole < num_groups) AddAmxValues<Tiles, 1>(state, step.head, whole);
}

template <typename Tiles>
void AttendAmx(const AttentionTask& task, float* scratch) {
  const AmxAttentionState state = MakeAmxState(task, scratch);
  StartAmxRows(task, state);
  AmxStep step;
  LoadAmxKeys(task, state, step, state.keys[0]);
  for (int parity = 0; step.first < EndOfKeys(task);
       parity = 1 - parity, step = NextStep(task, step)) {
    AttendAmxTile<Tiles>(task, state, step, parity);
  }
  for (int head = 0; head < task.num_kv_heads; ++head) {
    for (int i = 0; i < state.rows_per_head; ++i) {
      const int row = head * state.num_row_groups * kAmxTileRows + i;
      Vec sum = Set(0.0f);
      for (int j = 0; j < kAmxTileRows; j += Vec::kWidth) {
        sum = Add(sum, Load(state.sums + row * kAmxTileRows + j));
      }
      FinishRow<BFloat16>(task, head, i, state.accumulators + row * state.padded_head_dim,
                          Sum(sum));
    }
  }
}
