// Attention of many rows of a sequence by products of single warps: keys and values in tiles of 32
// positions counted from 0, of which one is copied while another is used.
#include "worker/kernels/cuda/attention_warp.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlockRows = kThreads / kWarpSize * kWarpRows;
constexpr int kTile = 32;

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

// Fragments of the warp's rows.
template <int kHeadDim>
struct Queries {
  uint32_t steps[kHeadDim / 16][4];
};

template <typename T, int kHeadDim>
__device__ void LoadQueries(Queries<kHeadDim>& queries, const AttentionArguments& a,
                            const RowBlock& block) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for (int half = 0; half < 2; ++half) {
    const RowPlace row = FindRow(a, block, warp * kWarpRows + lane / 4 + 8 * half);
    const T* q =
        static_cast<const T*>(a.q) + row.token * a.q_stride + row.head * kHeadDim + lane % 4 * 2;
    for (int step = 0; step < kHeadDim / 16; ++step) {
      for (int column = 0; column < 2; ++column) {
        uint32_t bits = 0;
        if (row.token >= 0) memcpy(&bits, q + step * 16 + column * 8, sizeof(bits));
        queries.steps[step][column * 2 + half] = bits;
      }
    }
  }
}

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

// scores = q · kᵀ
template <typename T, int kHeadDim>
__device__ void ComputeScores(const Queries<kHeadDim>& queries, const Tile<T, kHeadDim>& keys,
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
      MultiplyAccumulate<T>(scores[2 * pair], queries.steps[step], k[0], k[1]);
      MultiplyAccumulate<T>(scores[2 * pair + 1], queries.steps[step], k[2], k[3]);
    }
  }
}

// out += weights · v
template <typename T, int kHeadDim>
__device__ void AddValues(WarpRows<kHeadDim>& state, const Tile<T, kHeadDim>& values,
                          const float (&weights)[kTile / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  // Of 16 positions, two groups of 8 features.
  const int row = lane % 16;
  const int column = lane / 16 * 8;
  for (int step = 0; step < kTile / 16; ++step) {
    uint32_t p[4];
    PackWeights<T>(weights, step, p);
    for (int pair = 0; pair < kHeadDim / 16; ++pair) {
      uint32_t v[4];
      LoadMatricesTransposed(v, &values.rows[step * 16 + row][pair * 16 + column]);
      MultiplyAccumulate<T>(state.out[2 * pair], p, v[0], v[1]);
      MultiplyAccumulate<T>(state.out[2 * pair + 1], p, v[2], v[3]);
    }
  }
}

template <typename T, int kHeadDim>
__device__ void WriteRows(const WarpRows<kHeadDim>& state, const AttentionArguments& a,
                          const RowBlock& block) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for (int half = 0; half < 2; ++half) {
    const RowPlace row = FindRow(a, block, warp * kWarpRows + lane / 4 + 8 * half);
    if (row.token < 0) continue;
    T* out = static_cast<T*>(a.out) + row.token * a.out_stride + row.head * kHeadDim + lane % 4 * 2;
    for (int i = 0; i < kHeadDim / 8; ++i) {
      const uint32_t bits = PackPair<T>(state.out[i][2 * half], state.out[i][2 * half + 1]);
      memcpy(out + i * 8, &bits, sizeof(bits));
    }
  }
}

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads) TileAttentionKernel(AttentionArguments a) {
  __shared__ Stage<T, kHeadDim> stages[2];
  LetNextKernelBegin();
  AwaitEarlierKernels();
  const RowBlock block = FindRowBlock<kBlockRows>(a);
  if (block.sequence < 0) return;
  Queries<kHeadDim> queries;
  LoadQueries<T>(queries, a, block);
  WarpRows<kHeadDim> state;
  BeginRows(state, a, block);
  const PagedRows<T> key_rows(a, a.key, block.sequence, block.kv_head);
  const PagedRows<T> value_rows(a, a.value, block.sequence, block.kv_head);
  const auto copy = [&](int stage, int begin) {
    CopyTile(stages[stage].keys, key_rows, begin, block.end);
    CopyTile(stages[stage].values, value_rows, begin, block.end);
    CommitCopies();
  };
  copy(0, 0);
  int stage = 0;
  for (int begin = 0; begin < block.end; begin += kTile) {
    WaitForCopies<0>();
    // The tile is there for all, and all are done with the one before.
    __syncthreads();
    if (begin + kTile < block.end) copy(1 - stage, begin + kTile);
    float scores[kTile / 8][4];
    ComputeScores<T>(queries, stages[stage].keys, scores);
    ComputeWeights(state, a, block, begin, scores);
    AddValues<T>(state, stages[stage].values, scores);
    stage = 1 - stage;
  }
  EndRows(state);
  WriteRows<T>(state, a, block);
}

}  // namespace

bool HasTileAttention(const AttentionArguments& a) {
  // Rows of q move 4 bytes at a time.
  return a.type != Element::kFloat32 && (a.head_dim == 64 || a.head_dim == 128) &&
         a.q_stride % 2 == 0 && a.out_stride % 2 == 0 && a.scale > 0.0F;
}

void LaunchTileAttention(const AttentionArguments& a, Stream stream) {
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      LaunchOverlapping(
          a.head_dim == 64 ? &TileAttentionKernel<T, 64> : &TileAttentionKernel<T, 128>,
          RowBlockGrid(a, kBlockRows), dim3(kThreads), stream, a);
    }
  });
}

}  // namespace lockstep::worker::cuda
