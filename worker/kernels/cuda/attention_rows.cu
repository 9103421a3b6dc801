// Attention of single rows, for what the kernels on the matrix units do not take.
#include "worker/kernels/cuda/attention.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;
// A position's features are read by this many threads, 8 at a time each.
constexpr int kLanes = 8;
constexpr int kChunk = 8;
constexpr int kGroups = kThreads / kLanes;  // positions that are read at once
// The context is visited in tiles of this many positions, counted from 0; with several splits,
// split s takes the tiles s, s + num_splits, … and the splits are merged in order.
constexpr int kTile = 256;

template <typename T>
struct Chunk {
  Pack<T, kChunk> data;
  __device__ explicit Chunk(const T* address)
      : data(*reinterpret_cast<const Pack<T, kChunk>*>(address)) {}
  __device__ float operator[](int i) const { return ToFloat(data.elements[i]); }
};

struct RowPlace {
  int sequence;
  int context_length;  // positions that the row sees
};

// The sequence that a row belongs to: of a decode its own number, else by bisection.
__device__ RowPlace FindRow(const AttentionArguments& a, int row) {
  if (row < a.num_decode_sequences) return {row, a.context_lengths[row]};
  int low = 0;
  int high = a.num_sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (a.query_start_locations[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return {low, a.context_lengths[low] - (a.query_start_locations[low + 1] - 1 - row)};
}

// What one block computes: kHeads query heads of one row, over the tiles of one split.
template <typename T, int kHeads, int kChunks>
struct RowState {
  float q[kHeads][kChunks * kLanes * kChunk];
  float scores[kHeads][kTile];
  float maximum[kHeads];  // so far
  float sum[kHeads];      // of exp(score - maximum), so far
  float rescale[kHeads];  // of what was accumulated before this tile
  float merged[kWarps][kHeads][kChunks * kLanes * kChunk];
};

template <typename T, int kHeads, int kChunks>
__device__ void ComputeScores(RowState<T, kHeads, kChunks>& state, const PagedRows<T>& keys,
                              const AttentionArguments& a, int begin, int end) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int group = static_cast<int>(threadIdx.x) / kLanes;
  for (int i = group; i < kTile; i += kGroups) {
    float dot[kHeads] = {};
    if (begin + i < end) {
      const T* key = keys.Row(begin + i);
      for (int c = 0; c < kChunks; ++c) {
        const int d = (c * kLanes + lane) * kChunk;
        if (d >= a.head_dim) continue;
        const Chunk<T> chunk(key + d);
        for (int h = 0; h < kHeads; ++h) {
          for (int j = 0; j < kChunk; ++j) dot[h] += chunk[j] * state.q[h][d + j];
        }
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      for (int offset = kLanes / 2; offset > 0; offset /= 2) {
        dot[h] += __shfl_xor_sync(kFullWarp, dot[h], offset);
      }
      if (lane == 0) state.scores[h][i] = begin + i < end ? dot[h] * a.scale : kLowest;
    }
  }
}

// Scores to weights, a warp for each head.
template <typename T, int kHeads, int kChunks>
__device__ void ComputeWeights(RowState<T, kHeads, kChunks>& state, int num_positions) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int h = static_cast<int>(threadIdx.x) / kWarpSize; h < kHeads; h += kWarps) {
    float maximum = kLowest;
    for (int i = lane; i < kTile; i += kWarpSize) maximum = fmaxf(maximum, state.scores[h][i]);
    maximum = fmaxf(WarpMax(maximum), state.maximum[h]);
    float sum = 0.0F;
    for (int i = lane; i < kTile; i += kWarpSize) {
      const float weight = i < num_positions ? expf(state.scores[h][i] - maximum) : 0.0F;
      state.scores[h][i] = weight;
      sum += weight;
    }
    sum = WarpSum(sum);
    const float rescale = expf(state.maximum[h] - maximum);
    if (lane == 0) {
      state.rescale[h] = rescale;
      state.sum[h] = state.sum[h] * rescale + sum;
      state.maximum[h] = maximum;
    }
  }
}

template <typename T, int kHeads, int kChunks>
__device__ void AddValues(RowState<T, kHeads, kChunks>& state, const PagedRows<T>& values,
                          const AttentionArguments& a, int begin, int end,
                          float (&accumulators)[kHeads][kChunks][kChunk]) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int group = static_cast<int>(threadIdx.x) / kLanes;
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kChunks; ++c) {
      for (int j = 0; j < kChunk; ++j) accumulators[h][c][j] *= state.rescale[h];
    }
  }
  for (int i = group; i < kTile && begin + i < end; i += kGroups) {
    const T* value = values.Row(begin + i);
    for (int c = 0; c < kChunks; ++c) {
      const int d = (c * kLanes + lane) * kChunk;
      if (d >= a.head_dim) continue;
      const Chunk<T> chunk(value + d);
      for (int h = 0; h < kHeads; ++h) {
        const float weight = state.scores[h][i];
        for (int j = 0; j < kChunk; ++j) accumulators[h][c][j] += weight * chunk[j];
      }
    }
  }
}

// Sums the threads' accumulators, in a fixed order, into state.merged[0].
template <typename T, int kHeads, int kChunks>
__device__ void Merge(RowState<T, kHeads, kChunks>& state,
                      float (&accumulators)[kHeads][kChunks][kChunk]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kChunks; ++c) {
      for (int j = 0; j < kChunk; ++j) {
        float value = accumulators[h][c][j];
        for (int offset = kLanes; offset < kWarpSize; offset *= 2) {
          value += __shfl_xor_sync(kFullWarp, value, offset);
        }
        if (lane < kLanes) state.merged[warp][h][(c * kLanes + lane) * kChunk + j] = value;
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kHeads * kChunks * kLanes * kChunk;
       i += kThreads) {
    float value = 0.0F;
    for (int w = 0; w < kWarps; ++w) value += (&state.merged[w][0][0])[i];
    (&state.merged[0][0][0])[i] = value;
  }
  __syncthreads();
}

// Where a split's unnormalized sum, maximum and sum of weights lie in the scratch memory.
__device__ float* Partial(const AttentionArguments& a, int row, int head, int split,
                          int num_splits) {
  return a.partials +
         ((static_cast<int64_t>(row) * a.num_heads + head) * num_splits + split) * (a.head_dim + 2);
}

template <typename T, int kHeads, int kChunks>
__device__ void WriteResult(const RowState<T, kHeads, kChunks>& state, const AttentionArguments& a,
                            int row, int first_head, int num_heads, int num_splits) {
  for (int h = 0; h < num_heads; ++h) {
    const float scale = state.sum[h] > 0.0F ? 1.0F / state.sum[h] : 0.0F;
    T* out = static_cast<T*>(a.out) + row * a.out_stride + (first_head + h) * a.head_dim;
    float* partial = nullptr;
    if (num_splits > 1) {
      partial = Partial(a, row, first_head + h, static_cast<int>(blockIdx.z), num_splits);
    }
    for (int d = static_cast<int>(threadIdx.x); d < a.head_dim; d += kThreads) {
      if (partial == nullptr) {
        out[d] = static_cast<T>(state.merged[0][h][d] * scale);
      } else {
        partial[d] = state.merged[0][h][d];
      }
    }
    if (partial != nullptr && threadIdx.x == 0) {
      partial[a.head_dim] = state.maximum[h];
      partial[a.head_dim + 1] = state.sum[h];
    }
  }
}

// Grid: rows, groups of kHeads query heads that share a KV head, splits.
template <typename T, int kHeads, int kChunks>
__global__ void RowAttentionKernel(AttentionArguments a, int first_row, int num_splits) {
  __shared__ RowState<T, kHeads, kChunks> state;
  const int row = first_row + static_cast<int>(blockIdx.x);
  const RowPlace place = FindRow(a, row);
  const int group_size = a.num_heads / a.num_kv_heads;
  const int blocks_per_kv_head = (group_size + kHeads - 1) / kHeads;
  const int kv_head = static_cast<int>(blockIdx.y) / blocks_per_kv_head;
  const int first_in_group = static_cast<int>(blockIdx.y) % blocks_per_kv_head * kHeads;
  const int first_head = kv_head * group_size + first_in_group;
  const int num_heads = min(kHeads, group_size - first_in_group);
  const T* q = static_cast<const T*>(a.q) + row * a.q_stride + first_head * a.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < kHeads * a.head_dim; i += kThreads) {
    const int h = i / a.head_dim;
    state.q[h][i % a.head_dim] = h < num_heads ? ToFloat(q[i]) : 0.0F;
  }
  if (const int h = static_cast<int>(threadIdx.x); h < kHeads) {
    state.maximum[h] = kLowest;
    state.sum[h] = 0.0F;
  }
  float accumulators[kHeads][kChunks][kChunk] = {};
  const PagedRows<T> keys(a, a.key, place.sequence, kv_head);
  const PagedRows<T> values(a, a.value, place.sequence, kv_head);
  for (int begin = static_cast<int>(blockIdx.z) * kTile; begin < place.context_length;
       begin += num_splits * kTile) {
    __syncthreads();
    ComputeScores(state, keys, a, begin, place.context_length);
    __syncthreads();
    ComputeWeights(state, place.context_length - begin);
    __syncthreads();
    AddValues(state, values, a, begin, place.context_length, accumulators);
  }
  __syncthreads();
  Merge(state, accumulators);
  WriteResult(state, a, row, first_head, num_heads, num_splits);
}

// Merges the splits of one row and head. Grid: rows, heads.
template <typename T>
__global__ void MergeSplitsKernel(AttentionArguments a, int first_row, int num_splits) {
  const int row = first_row + static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  float maximum = kLowest;
  for (int split = 0; split < num_splits; ++split) {
    maximum = fmaxf(maximum, Partial(a, row, head, split, num_splits)[a.head_dim]);
  }
  float sum = 0.0F;
  for (int split = 0; split < num_splits; ++split) {
    const float* partial = Partial(a, row, head, split, num_splits);
    sum += partial[a.head_dim + 1] * expf(partial[a.head_dim] - maximum);
  }
  const float scale = sum > 0.0F ? 1.0F / sum : 0.0F;
  T* out = static_cast<T*>(a.out) + row * a.out_stride + head * a.head_dim;
  for (int d = static_cast<int>(threadIdx.x); d < a.head_dim; d += kThreads) {
    float value = 0.0F;
    for (int split = 0; split < num_splits; ++split) {
      const float* partial = Partial(a, row, head, split, num_splits);
      value += partial[d] * expf(partial[a.head_dim] - maximum);
    }
    out[d] = static_cast<T>(value * scale);
  }
}

template <typename T, int kHeads>
auto ChooseKernel(int head_dim) {
  if (head_dim <= kLanes * kChunk) return &RowAttentionKernel<T, kHeads, 1>;
  if (head_dim <= 2 * kLanes * kChunk) return &RowAttentionKernel<T, kHeads, 2>;
  return &RowAttentionKernel<T, kHeads, 4>;
}

int NumRowSplits(int64_t max_context_length) {
  const int64_t num_tiles = (max_context_length + kTile - 1) / kTile;
  return static_cast<int>(num_tiles < 1                  ? 1
                          : num_tiles < kMaxDecodeSplits ? num_tiles
                                                         : kMaxDecodeSplits);
}

}  // namespace

int64_t AttentionPartialFloats(const AttentionArguments& a) {
  const int num_splits =
      HasDecodeAttention(a) ? kMaxDecodeSplits : NumRowSplits(a.max_context_length);
  if (num_splits == 1) return 0;
  return int64_t{a.num_decode_sequences} * a.num_heads * num_splits * (a.head_dim + 2);
}

void LaunchRowAttention(const AttentionArguments& a, int first_row, int num_rows, int num_splits,
                        Stream stream) {
  if (num_rows == 0) return;
  const int group_size = a.num_heads / a.num_kv_heads;
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    const int heads_per_block = group_size == 1 ? 1 : 4;
    const auto kernel =
        heads_per_block == 1 ? ChooseKernel<T, 1>(a.head_dim) : ChooseKernel<T, 4>(a.head_dim);
    const int num_groups = a.num_kv_heads * ((group_size + heads_per_block - 1) / heads_per_block);
    const auto rows = static_cast<unsigned>(num_rows);
    Launch(kernel, dim3(rows, static_cast<unsigned>(num_groups), static_cast<unsigned>(num_splits)),
           dim3(kThreads), stream, a, first_row, num_splits);
    if (num_splits > 1) {
      Launch(&MergeSplitsKernel<T>, dim3(rows, static_cast<unsigned>(a.num_heads)), dim3(kThreads),
             stream, a, first_row, num_splits);
    }
  });
}

void LaunchPagedAttention(const AttentionArguments& a, Stream stream) {
  if (a.num_decode_sequences > 0 && HasDecodeAttention(a)) {
    LaunchDecodeAttention(a, stream);
  } else {
    LaunchRowAttention(a, 0, a.num_decode_sequences, NumRowSplits(a.max_context_length), stream);
  }
  if (a.num_rows == a.num_decode_sequences) return;
  if (HasWarpgroupAttention(a)) {
    LaunchWarpgroupAttention(a, stream);
  } else if (HasTileAttention(a)) {
    LaunchTileAttention(a, stream);
  } else {
    LaunchRowAttention(a, a.num_decode_sequences, a.num_rows - a.num_decode_sequences, 1, stream);
  }
}

}  // namespace lockstep::worker::cuda
