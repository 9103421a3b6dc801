// Attention of many rows of a sequence on the matrix units, after Dao 2023 (FlashAttention-2): 64
// rows per block, 16 per warp, keys and values in tiles of 32 positions counted from 0, of which
// one is copied while another is used. The query heads that share a KV head are rows of one tile,
// so that what was read of the cache serves them all.
#include "worker/kernels/cuda/attention.cuh"
#include "worker/kernels/cuda/matrix_units.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarpRows = 16;
constexpr int kBlockRows = kThreads / kWarpSize * kWarpRows;
constexpr int kTile = 32;
constexpr float kLog2E = 1.44269504F;

// The padding spreads the rows over the banks and keeps them 16-byte aligned.
template <typename T, int kHeadDim>
struct Tile {
  alignas(16) T rows[kTile][kHeadDim + 8];
};

template <typename T, int kHeadDim>
struct Stage {
  Tile<T, kHeadDim> keys;
  Tile<T, kHeadDim> values;
};

// One thread's part of its warp's 16 rows, of which it has rows g and g + 8.
template <int kHeadDim>
struct WarpRows {
  uint32_t q[kHeadDim / 16][4];
  float out[kHeadDim / 8][4];
  float maximum[2];  // of score · scale · log2(e)
  float sum[2];      // of this thread's columns
  int position[2];   // of the row's token; -1: there is no such row
};

// Each thread copies one 16-byte piece of every kRows-th row.
template <typename T, int kHeadDim>
__device__ void CopyTile(Tile<T, kHeadDim>& tile, const PagedRows<T>& rows, int begin, int end) {
  constexpr int kPieces = kHeadDim / 8;
  constexpr int kRows = kThreads / kPieces;
  const int first_row = static_cast<int>(threadIdx.x) / kPieces;
  const int column = static_cast<int>(threadIdx.x) % kPieces * 8;
  for (int i = 0; i < kTile / kRows; ++i) {
    const int row = first_row + i * kRows;
    const bool is_wanted = begin + row < end;
    // A position that exists stands in for one that does not: its address is good, and it is not
    // read.
    const T* from = rows.Row(is_wanted ? begin + row : begin) + column;
    CopyAsync(&tile.rows[row][column], from, is_wanted);
  }
}

template <typename T, int kHeadDim>
__device__ void LoadQueries(WarpRows<kHeadDim>& state, const AttentionArguments& a, int sequence,
                            int kv_head, int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group_size = a.num_heads / a.num_kv_heads;
  const int first_token = a.query_start_locations[sequence];
  const int num_tokens = a.query_start_locations[sequence + 1] - first_token;
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + lane / 4 + 8 * half;
    const int token = row / group_size;
    const bool exists = token < num_tokens;
    state.position[half] = exists ? a.context_lengths[sequence] - num_tokens + token : -1;
    state.maximum[half] = kLowest;
    state.sum[half] = 0.0F;
    const T* q = static_cast<const T*>(a.q) + (first_token + token) * a.q_stride +
                 (kv_head * group_size + row % group_size) * kHeadDim + lane % 4 * 2;
    for (int step = 0; step < kHeadDim / 16; ++step) {
      for (int column = 0; column < 2; ++column) {
        uint32_t bits = 0;
        if (exists) memcpy(&bits, q + step * 16 + column * 8, sizeof(bits));
        state.q[step][column * 2 + half] = bits;
      }
    }
  }
  for (int i = 0; i < kHeadDim / 8; ++i) {
    for (int j = 0; j < 4; ++j) state.out[i][j] = 0.0F;
  }
}

// scores = q · kᵀ: element [n][e] is key 8n + 2t + e % 2 of row g + 8 · (e / 2).
template <typename T, int kHeadDim>
__device__ void ComputeScores(const WarpRows<kHeadDim>& state, const Tile<T, kHeadDim>& keys,
                              float (&scores)[kTile / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  // Of two key groups of 8, the features 0 to 7 and 8 to 15 of the step.
  const int row = lane % 8 + lane / 16 * 8;
  const int column = lane / 8 % 2 * 8;
  for (int pair = 0; pair < kTile / 16; ++pair) {
    for (int j = 0; j < 4; ++j) scores[2 * pair][j] = scores[2 * pair + 1][j] = 0.0F;
    for (int step = 0; step < kHeadDim / 16; ++step) {
      uint32_t k[4];
      LoadMatrices(k, &keys.rows[pair * 16 + row][step * 16 + column]);
      MultiplyAccumulate<T>(scores[2 * pair], state.q[step], k[0], k[1]);
      MultiplyAccumulate<T>(scores[2 * pair + 1], state.q[step], k[2], k[3]);
    }
  }
}

// Scores to weights relative to the rows' maximum so far; rescales what was accumulated before.
template <int kHeadDim>
__device__ void ComputeWeights(WarpRows<kHeadDim>& state, float scale, int begin,
                               float (&scores)[kTile / 8][4]) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
  for (int half = 0; half < 2; ++half) {
    float maximum = state.maximum[half];
    for (int n = 0; n < kTile / 8; ++n) {
      for (int e = 0; e < 2; ++e) {
        float& score = scores[n][2 * half + e];
        const bool is_seen = begin + n * 8 + column + e <= state.position[half];
        score = is_seen ? score * (scale * kLog2E) : kLowest;
        maximum = fmaxf(maximum, score);
      }
    }
    maximum = fmaxf(maximum, __shfl_xor_sync(kFullWarp, maximum, 1));
    maximum = fmaxf(maximum, __shfl_xor_sync(kFullWarp, maximum, 2));
    if (maximum != state.maximum[half]) {
      const float rescale = exp2f(state.maximum[half] - maximum);
      state.maximum[half] = maximum;
      state.sum[half] *= rescale;
      for (int i = 0; i < kHeadDim / 8; ++i) {
        state.out[i][2 * half] *= rescale;
        state.out[i][2 * half + 1] *= rescale;
      }
    }
    for (int n = 0; n < kTile / 8; ++n) {
      for (int e = 0; e < 2; ++e) {
        float& weight = scores[n][2 * half + e];
        weight = weight == kLowest ? 0.0F : exp2f(weight - maximum);
        state.sum[half] += weight;
      }
    }
  }
}

// out += weights · v. The scores' fragments are, rounded, those that the product takes from the
// left.
template <typename T, int kHeadDim>
__device__ void AddValues(WarpRows<kHeadDim>& state, const Tile<T, kHeadDim>& values,
                          const float (&weights)[kTile / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  // Of 16 positions, two groups of 8 features.
  const int row = lane % 16;
  const int column = lane / 16 * 8;
  for (int step = 0; step < kTile / 16; ++step) {
    const float(&low)[4] = weights[2 * step];
    const float(&high)[4] = weights[2 * step + 1];
    const uint32_t p[4] = {PackPair<T>(low[0], low[1]), PackPair<T>(low[2], low[3]),
                           PackPair<T>(high[0], high[1]), PackPair<T>(high[2], high[3])};
    for (int pair = 0; pair < kHeadDim / 16; ++pair) {
      uint32_t v[4];
      LoadMatricesTransposed(v, &values.rows[step * 16 + row][pair * 16 + column]);
      MultiplyAccumulate<T>(state.out[2 * pair], p, v[0], v[1]);
      MultiplyAccumulate<T>(state.out[2 * pair + 1], p, v[2], v[3]);
    }
  }
}

template <typename T, int kHeadDim>
__device__ void WriteRows(WarpRows<kHeadDim>& state, const AttentionArguments& a, int sequence,
                          int kv_head, int first_row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group_size = a.num_heads / a.num_kv_heads;
  for (int half = 0; half < 2; ++half) {
    float sum = state.sum[half];
    sum += __shfl_xor_sync(kFullWarp, sum, 1);
    sum += __shfl_xor_sync(kFullWarp, sum, 2);
    if (state.position[half] < 0) continue;
    const float inverse = 1.0F / sum;
    const int row = first_row + lane / 4 + 8 * half;
    const int token = a.query_start_locations[sequence] + row / group_size;
    T* out = static_cast<T*>(a.out) + token * a.out_stride +
             (kv_head * group_size + row % group_size) * kHeadDim + lane % 4 * 2;
    for (int i = 0; i < kHeadDim / 8; ++i) {
      const uint32_t bits =
          PackPair<T>(state.out[i][2 * half] * inverse, state.out[i][2 * half + 1] * inverse);
      memcpy(out + i * 8, &bits, sizeof(bits));
    }
  }
}

// Grid: tiles of rows (enough for the longest sequence), KV heads, sequences behind the decodes.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads) TileAttentionKernel(AttentionArguments a) {
  __shared__ Stage<T, kHeadDim> stages[2];
  AwaitEarlierKernels();
  const int sequence = a.num_decode_sequences + static_cast<int>(blockIdx.z);
  const int kv_head = static_cast<int>(blockIdx.y);
  const int group_size = a.num_heads / a.num_kv_heads;
  const int num_tokens = a.query_start_locations[sequence + 1] - a.query_start_locations[sequence];
  // The last rows see most: they begin first.
  const int block_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kBlockRows;
  if (block_row >= num_tokens * group_size) return;
  const int warp_row = block_row + static_cast<int>(threadIdx.x) / kWarpSize * kWarpRows;
  WarpRows<kHeadDim> state;
  LoadQueries<T>(state, a, sequence, kv_head, warp_row);
  // What the block's last row sees.
  const int last_token = min((block_row + kBlockRows - 1) / group_size, num_tokens - 1);
  const int end = a.context_lengths[sequence] - num_tokens + last_token + 1;
  const PagedRows<T> key_rows(a, a.key, sequence, kv_head);
  const PagedRows<T> value_rows(a, a.value, sequence, kv_head);
  const auto copy = [&](int stage, int begin) {
    CopyTile(stages[stage].keys, key_rows, begin, end);
    CopyTile(stages[stage].values, value_rows, begin, end);
    CommitCopies();
  };
  copy(0, 0);
  int stage = 0;
  for (int begin = 0; begin < end; begin += kTile) {
    WaitForCopies<0>();
    // The tile is there for all, and all are done with the one before.
    __syncthreads();
    if (begin + kTile < end) copy(1 - stage, begin + kTile);
    float scores[kTile / 8][4];
    ComputeScores<T>(state, stages[stage].keys, scores);
    ComputeWeights(state, a.scale, begin, scores);
    AddValues<T>(state, stages[stage].values, scores);
    stage = 1 - stage;
  }
  WriteRows<T>(state, a, sequence, kv_head, warp_row);
}

}  // namespace

bool HasTileAttention(const AttentionArguments& a) {
  // Rows of q move 4 bytes at a time.
  return a.type != Element::kFloat32 && (a.head_dim == 64 || a.head_dim == 128) &&
         a.q_stride % 2 == 0 && a.out_stride % 2 == 0;
}

void LaunchTileAttention(const AttentionArguments& a, Stream stream) {
  const int max_rows = (a.num_rows - a.num_decode_sequences) * (a.num_heads / a.num_kv_heads);
  const dim3 grid(static_cast<unsigned>((max_rows + kBlockRows - 1) / kBlockRows),
                  static_cast<unsigned>(a.num_kv_heads),
                  static_cast<unsigned>(a.num_sequences - a.num_decode_sequences));
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      LaunchOverlapping(
          a.head_dim == 64 ? &TileAttentionKernel<T, 64> : &TileAttentionKernel<T, 128>, grid,
          dim3(kThreads), stream, a);
    }
  });
}

}  // namespace lockstep::worker::cuda
