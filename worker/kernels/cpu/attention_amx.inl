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
  return ZeroWhereLess({_mm512_scalef_ps(p.v, n.v)}, x, lowest);
#else
  return ZeroWhereLess(Exp(Mul(x, Set(0.693147181f))), x, lowest);
#endif
}

// Stores a, rounded; returns what was stored.
inline Vec StoreRounded(BFloat16* out, Vec a) {
#if defined(__AVX512BF16__)
  const __m256i bits = (__m256i)_mm512_cvtneps_pbh(a.v);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bits);
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
#else
  Store(out, a);
  return Load(out);
#endif
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
    AddAmxProducts<Tiles, kGroups>(rows, a.group_stride, columns, b.group_stride, kAmxTileRowBytes);
  }
}

// scores [kGroups · 16, kKeyTile] of row groups from `group`, counted over all heads.
template <typename Tiles, int kGroups>
void ScoreAmxRows(const AmxAttentionState& state, int group, const BFloat16* keys, float* scores) {
  const int64_t stride = int64_t{state.num_depth_tiles} * kAmxTileElements;
  for (int column = 0; column < kAmxKeyGroups; column += 2) {
    ZeroAmxBlock<Tiles, kGroups>();
    MultiplyAmxBlock<Tiles, kGroups>({state.queries + group * stride, stride, kAmxTileElements},
                                     {keys + column * stride, stride, kAmxTileElements},
                                     state.num_depth_tiles);
    StoreAmxBlock<Tiles, kGroups>(scores + column * kAmxTileRows, kKeyTile);
  }
}

// Turns one row's scores into the two parts of its probabilities, in the layout of `probabilities`,
// relative to the new maximum; its accumulator and its sums follow the maximum. `log2_scale` is the
// scale of the scores times log2(e).
inline void SoftmaxAmxRow(float* scores, int num_visible, float log2_scale, float& maximum,
                          float* sums, float* accumulator, int padded_head_dim, BFloat16* out) {
  HideScores(scores, num_visible);
  Vec tile_maximum = Load(scores);
  for (int i = Vec::kWidth; i < kKeyTile; i += Vec::kWidth) {
    tile_maximum = Max(tile_maximum, Load(scores + i));
  }
  const float highest = Maximum(tile_maximum);
  if (highest > maximum) {
    const Vec correction = Exp2(Set((maximum - highest) * log2_scale));
    maximum = highest;
    ScaleAll(sums, kAmxTileRows, correction);
    ScaleAll(accumulator, padded_head_dim, correction);
  }
  const Vec scale = Set(log2_scale), offset = Set(-maximum * log2_scale);
  for (int i = 0; i < kKeyTile; i += Vec::kWidth) {
    const Vec probability = Exp2(MulAdd(Load(scores + i), scale, offset));
    float* sum = sums + i % kAmxTileRows;
    Store(sum, Add(Load(sum), probability));
    BFloat16* high = out + i / kAmxTileDepth * kAmxTileElements + i % kAmxTileDepth;
    const Vec rounded = StoreRounded(high, probability);
    StoreRounded(high + kAmxLowPart, Sub(probability, rounded));
  }
}

inline void SoftmaxAmxRows(const AttentionTask& task, const AmxAttentionState& state,
                           const AmxStep& step, int group, float* scores) {
  constexpr float kLog2E = 1.44269504f;
  const int first_row = (group - step.head * state.num_row_groups) * kAmxTileRows;
  const int left = state.rows_per_head - first_row;
  for (int i = 0; i < (left < 2 * kAmxTileRows ? left : 2 * kAmxTileRows); ++i) {
    const int64_t visible =
        task.first_position + (first_row + i) / task.group_size - step.first + 1;
    const int row = group * kAmxTileRows + i;
    SoftmaxAmxRow(scores + i * kKeyTile, visible < kKeyTile ? static_cast<int>(visible) : kKeyTile,
                  task.scale * kLog2E, state.maxima[row], state.sums + row * kAmxTileRows,
                  state.accumulators + row * state.padded_head_dim, state.padded_head_dim,
                  state.probabilities + i / kAmxTileRows * kAmxPositionTiles * kAmxTileElements +
                      i % kAmxTileRows * kAmxTileDepth);
  }
}

template <typename Tiles, int kGroups>
void AddAmxValues(const AmxAttentionState& state, int group) {
  constexpr int64_t kGroupStride = kAmxPositionTiles * kAmxTileElements;
  const AmxOperand high = {state.probabilities, kGroupStride, kAmxTileElements};
  const AmxOperand low = {state.probabilities + kAmxLowPart, kGroupStride, kAmxTileElements};
  const int stride = state.padded_head_dim;
  for (int column = 0; column < stride; column += 2 * kAmxTileRows) {
    float* sums = state.accumulators + group * kAmxTileRows * stride + column;
    const AmxOperand values = {state.values + column * kAmxTileDepth, kAmxTileElements,
                               int64_t{stride} * kAmxTileDepth};
    LoadAmxBlock<Tiles, kGroups>(sums, stride);
    MultiplyAmxBlock<Tiles, kGroups>(high, values, kAmxPositionTiles);
    MultiplyAmxBlock<Tiles, kGroups>(low, values, kAmxPositionTiles);
    StoreAmxBlock<Tiles, kGroups>(sums, stride);
  }
}

template <typename Tiles>
void ScoreAmxPair(const AmxAttentionState& state, int group, int end, const BFloat16* keys,
                  float* scores) {
  if (group + 1 < end) {
    ScoreAmxRows<Tiles, 2>(state, group, keys, scores);
  } else {
    ScoreAmxRows<Tiles, 1>(state, group, keys, scores);
  }
}

// One tile of keys for one head, whose keys are in buffer `parity`. What waits for the tile
// registers stands apart from what they wait for: the scores of the next rows come before the
// softmax of these, and the next step's keys before the last product.
template <typename Tiles>
void AttendAmxTile(const AttentionTask& task, const AmxAttentionState& state, const AmxStep& step,
                   int parity) {
  const int begin = step.head * state.num_row_groups, end = begin + state.num_row_groups;
  const AmxStep next = NextStep(task, step);
  ScoreAmxPair<Tiles>(state, begin, end, state.keys[parity], state.scores[0]);
  LoadAmxValues(task, state, step);
  for (int group = begin, pair = 0; group < end; group += 2, ++pair) {
    const bool is_last = group + 2 >= end;
    if (!is_last) {
      ScoreAmxPair<Tiles>(state, group + 2, end, state.keys[parity], state.scores[(pair + 1) % 2]);
    }
    SoftmaxAmxRows(task, state, step, group, state.scores[pair % 2]);
    if (is_last && next.first < EndOfKeys(task)) {
      LoadAmxKeys(task, state, next, state.keys[1 - parity]);
    }
    if (group + 1 < end) {
      AddAmxValues<Tiles, 2>(state, group);
    } else {
      AddAmxValues<Tiles, 1>(state, group);
    }
  }
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
