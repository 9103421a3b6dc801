// Attention of decodes on the matrix units, memory-bound: keys and values go from the cache to
// registers once and serve all query heads that share them.
//
// Scores and sums are computed transposed, so that the context, of which there is much, fills the
// 16 rows of a product and the query heads, of which there are few, its 8 columns:
//   scoresᵀ [positions, heads] = K [positions, features] · Qᵀ,   outᵀ [features, heads] = Vᵀ ·
//   weightsᵀ
// A product does not care which feature a column is, as long as both sides agree: threads take the
// features that lie together in memory, 16 bytes at a time.
#include "worker/kernels/cuda/attention.cuh"
#include "worker/kernels/cuda/attention_splits.cuh"
#include "worker/kernels/cuda/matrix_units.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kWarpTile = 32;  // positions that a warp visits at a time
constexpr int kTile = kDecodeWarps * kWarpTile;
constexpr int64_t kWantedBlocks = 1024;  // two or three for each multiprocessor of a large GPU

// At least: what all of a tile in registers leaves room for.
template <int kHeadDim>
constexpr int kBlocksPerMultiprocessor = kHeadDim == 128 ? 3 : 5;

// How the context of one sequence is divided: by its length alone, so that the bits of a row do not
// depend on the rows beside it.
struct Splits {
  int tiles_per_split;
  int num_splits;
};

__device__ Splits SplitContext(int context_length) {
  const int num_tiles = (context_length + kTile - 1) / kTile;
  const int shared = (num_tiles + kMaxDecodeSplits - 1) / kMaxDecodeSplits;
  const int tiles_per_split = shared < kMinTilesPerSplit ? kMinTilesPerSplit : shared;
  const int num_splits = (num_tiles + tiles_per_split - 1) / tiles_per_split;
  return {tiles_per_split, num_splits < 1 ? 1 : num_splits};
}

// One warp's part. Thread (g, t), as matrix_units.cuh has them, holds of outᵀ the features
// FirstFeature + j and SecondFeature + j of heads 2t and 2t + 1.
template <int kHeadDim>
struct WarpState {
  static constexpr int kTiles = kHeadDim / 16;
  float out[kTiles][4];
  float maximum[2];  // of score · scale · log2(e), of heads 2t and 2t + 1
  float sum[2];      // of this thread's positions
};

template <int kHeadDim>
__device__ int FirstFeature(int g) {
  return g * 8;
}
template <int kHeadDim>
__device__ int SecondFeature(int g) {
  return kHeadDim == 128 ? 64 + g * 8 : g * 8 + 4;
}

// Eight elements.
struct Words {
  uint32_t w[4];
};

template <typename T>
__device__ Words LoadWords(const T* address) {
  const auto pack = *reinterpret_cast<const Pack<uint32_t, 4>*>(address);
  return {{pack.elements[0], pack.elements[1], pack.elements[2], pack.elements[3]}};
}

// Element `index` of both, side by side.
__device__ uint32_t PairOf(const Words& low, const Words& high, int index) {
  const uint32_t a = low.w[index / 2];
  const uint32_t b = high.w[index / 2];
  return index % 2 == 0 ? (a & 0xFFFFU) | b << 16 : a >> 16 | (b & 0xFFFF0000U);
}

// Qᵀ: of step s, the features that LoadKeys has in its columns.
template <typename T, int kHeadDim>
__device__ void LoadQueries(const AttentionArguments& a, int row, int first_head, int num_heads,
                            uint32_t (&q)[kHeadDim / 16][2]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int head = lane / 4;
  const T* from = static_cast<const T*>(a.q) + row * a.q_stride + (first_head + head) * kHeadDim;
  for (int chunk = 0; chunk < kHeadDim / 32; ++chunk) {
    const Words words = head < num_heads ? LoadWords(from + chunk * 32 + lane % 4 * 8) : Words{};
    for (int i = 0; i < 4; ++i) q[2 * chunk + i / 2][i % 2] = words.w[i];
  }
}

// Where a warp's tile of the context lies: a block of the cache holds whole groups of 8 positions.
template <typename T>
struct TileRows {
  int64_t groups[kWarpTile / 8];
  int last;  // position of the tile that exists; those behind it are read in its place

  __device__ TileRows(const PagedRows<T>& rows, int begin, int end) {
    last = min(end - begin, kWarpTile) - 1;
    for (int i = 0; i < kWarpTile / 8; ++i) {
      groups[i] = rows.Offset(begin + min(i * 8, last / 8 * 8));
    }
  }
  // Where row `row` of the tile's group `group`, which is known to the compiler, is behind
  // PagedRows' base: the same for keys and values.
  __device__ int64_t Offset(int group, int row, int head_dim) const {
    return groups[group] + (group * 8 + row > last ? last % 8 : row) * head_dim;
  }
};

// Has a warp's tile on its way to the second-level cache, each lane a position's key and value. Of
// a tile behind the last one, the last position: without a branch, addresses are computed together.
template <typename T, int kHeadDim>
__device__ void PrefetchTile(const PagedRows<T>& keys, const PagedRows<T>& values, int begin,
                             int end) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int64_t offset = keys.Offset(min(begin + lane, end - 1));
  constexpr int kLine = 128 / static_cast<int>(sizeof(T));
  for (int d = 0; d < kHeadDim; d += kLine) {
    Prefetch(keys.base() + offset + d);
    Prefetch(values.base() + offset + d);
  }
}

// scoresᵀ of 16 positions.
template <typename T, int kHeadDim>
__device__ void MultiplyKeys(const Words (&low)[kHeadDim / 32], const Words (&high)[kHeadDim / 32],
                             const uint32_t (&q)[kHeadDim / 16][2], float (&scores)[4]) {
  for (int i = 0; i < 4; ++i) scores[i] = 0.0F;
  for (int step = 0; step < kHeadDim / 16; ++step) {
    const Words& l = low[step / 2];
    const Words& h = high[step / 2];
    const int w = step % 2 * 2;
    const uint32_t keys[4] = {l.w[w], h.w[w], l.w[w + 1], h.w[w + 1]};
    MultiplyAccumulate<T>(scores, keys, q[step][0], q[step][1]);
  }
}

// Scores of the tile to weights relative to the maximum so far; rescales what was summed before.
template <int kHeadDim>
__device__ void ComputeWeights(WarpState<kHeadDim>& state, float scale, int num_positions,
                               float (&scores)[kWarpTile / 16][4]) {
  const int g = static_cast<int>(threadIdx.x) % kWarpSize / 4;
  for (int head = 0; head < 2; ++head) {
    float maximum = state.maximum[head];
    for (int i = 0; i < kWarpTile / 16; ++i) {
      for (int half = 0; half < 2; ++half) {
        float& score = scores[i][2 * half + head];
        score = i * 16 + half * 8 + g < num_positions ? score * (scale * kLog2E) : kLowest;
        maximum = fmaxf(maximum, score);
      }
    }
    for (int offset = 4; offset < kWarpSize; offset *= 2) {
      maximum = fmaxf(maximum, __shfl_xor_sync(kFullWarp, maximum, offset));
    }
    const float rescale = exp2f(state.maximum[head] - maximum);
    state.maximum[head] = maximum;
    state.sum[head] *= rescale;
    for (int i = 0; i < kWarpTile / 16; ++i) {
      for (int half = 0; half < 2; ++half) {
        float& weight = scores[i][2 * half + head];
        weight = weight == kLowest ? 0.0F : exp2f(weight - maximum);
        state.sum[head] += weight;
      }
    }
    for (int j = 0; j < WarpState<kHeadDim>::kTiles; ++j) {
      state.out[j][head] *= rescale;
      state.out[j][2 + head] *= rescale;
    }
  }
}

// The features that a thread takes of one position.
template <int kHeadDim>
struct Features {
  Words words[kHeadDim / 64];
};

// outᵀ += Vᵀ · weightsᵀ of 16 positions: the thread has positions 2t, 2t + 1, 2t + 8 and 2t + 9.
template <typename T, int kHeadDim>
__device__ void AddValues(WarpState<kHeadDim>& state, const Features<kHeadDim> (&values)[4],
                          const float (&weights)[4]) {
  const uint32_t low = TransposeMatrix(PackPair<T>(weights[0], weights[1]));
  const uint32_t high = TransposeMatrix(PackPair<T>(weights[2], weights[3]));
  constexpr int kSecond = kHeadDim / 64 - 1;
  for (int j = 0; j < WarpState<kHeadDim>::kTiles; ++j) {
    const int second = kSecond == 0 ? 4 + j : j;
    const uint32_t v[4] = {
        PairOf(values[0].words[0], values[1].words[0], j),
        PairOf(values[0].words[kSecond], values[1].words[kSecond], second),
        PairOf(values[2].words[0], values[3].words[0], j),
        PairOf(values[2].words[kSecond], values[3].words[kSecond], second),
    };
    MultiplyAccumulate<T>(state.out[j], v, low, high);
  }
}

// The warp's tile at `begin`; its next one begins at `next`, or there is none before `end`.
template <typename T, int kHeadDim>
__device__ void VisitTile(WarpState<kHeadDim>& state, const uint32_t (&q)[kHeadDim / 16][2],
                          const PagedRows<T>& keys, const PagedRows<T>& values, float scale,
                          int begin, int next, int end) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int g = lane / 4;
  const int t = lane % 4;
  constexpr int kGroups = kWarpTile / 16;
  const TileRows<T> rows(keys, begin, end);
  PrefetchTile<T, kHeadDim>(keys, values, next, end);
  // All of the keys' loads are under way before the first is waited for. The values' have room
  // behind the keys' products, and find the second-level cache filled by then.
  Words k[kGroups][2][kHeadDim / 32];
  for (int i = 0; i < kGroups; ++i) {
    for (int half = 0; half < 2; ++half) {
      const T* row = keys.base() + rows.Offset(2 * i + half, g, kHeadDim) + t * 8;
      for (int c = 0; c < kHeadDim / 32; ++c) k[i][half][c] = LoadWords(row + c * 32);
    }
  }
  Features<kHeadDim> v[kGroups][4];
  for (int i = 0; i < kGroups; ++i) {
    for (int p = 0; p < 4; ++p) {
      const T* row = values.base() + rows.Offset(2 * i + p / 2, 2 * t + p % 2, kHeadDim) + g * 8;
      for (int c = 0; c < kHeadDim / 64; ++c) v[i][p].words[c] = LoadWords(row + c * 64);
    }
  }
  float scores[kGroups][4];
  for (int i = 0; i < kGroups; ++i) MultiplyKeys<T, kHeadDim>(k[i][0], k[i][1], q, scores[i]);
  ComputeWeights<kHeadDim>(state, scale, end - begin, scores);
  for (int i = 0; i < kGroups; ++i) AddValues<T, kHeadDim>(state, v[i], scores[i]);
}

template <int kHeadDim>
__device__ void StoreWarp(DecodeBlock<kHeadDim>& result, const WarpState<kHeadDim>& state) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int g = lane / 4;
  for (int head = 0; head < 2; ++head) {
    const int h = lane % 4 * 2 + head;
    float sum = state.sum[head];
    for (int offset = 4; offset < kWarpSize; offset *= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, offset);
    }
    if (g == 0) {
      result.maximum[warp][h] = state.maximum[head];
      result.sum[warp][h] = sum;
    }
    for (int j = 0; j < WarpState<kHeadDim>::kTiles; ++j) {
      result.out[warp][h][FirstFeature<kHeadDim>(g) + j] = state.out[j][head];
      result.out[warp][h][SecondFeature<kHeadDim>(g) + j] = state.out[j][2 + head];
    }
  }
}

// The block's place in the grid, less its split.
__device__ DecodePlace FindPlace(const AttentionArguments& a, int num_splits) {
  const int group_size = a.num_heads / a.num_kv_heads;
  const int blocks_per_kv_head = (group_size + kHeadsPerBlock - 1) / kHeadsPerBlock;
  const int kv_head = static_cast<int>(blockIdx.y) / blocks_per_kv_head;
  const int first_in_group = static_cast<int>(blockIdx.y) % blocks_per_kv_head * kHeadsPerBlock;
  return {.row = static_cast<int>(blockIdx.x),
          .kv_head = kv_head,
          .first_head = kv_head * group_size + first_in_group,
          .num_heads = min(kHeadsPerBlock, group_size - first_in_group),
          .num_splits = num_splits};
}

// Grid: rows, groups of up to 8 query heads that share a KV head, and blocks that divide the splits
// among themselves.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kDecodeThreads, kBlocksPerMultiprocessor<kHeadDim>)
    DecodeAttentionKernel(AttentionArguments a) {
  __shared__ DecodeBlock<kHeadDim> result;
  LetNextKernelBegin();
  // Lengths and tables come by the step's copy, and no kernel writes them.
  const int context_length = a.context_lengths[blockIdx.x];
  const Splits splits = SplitContext(context_length);
  const DecodePlace place = FindPlace(a, splits.num_splits);
  const PagedRows<T> keys(a, a.key, place.row, place.kv_head);
  const PagedRows<T> values(a, a.value, place.row, place.kv_head);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int split_length = splits.tiles_per_split * kTile;
  const auto begin_of = [&](int split) { return split * split_length + warp * kWarpTile; };
  const auto first_split = static_cast<int>(blockIdx.z);
  const auto num_blocks = static_cast<int>(gridDim.z);
  // Nothing is read yet: the position that is being written is loaded behind the wait, as all are.
  if (begin_of(first_split) < context_length) {
    PrefetchTile<T, kHeadDim>(keys, values, begin_of(first_split), context_length);
  }
  AwaitEarlierKernels();
  if (first_split >= splits.num_splits) return;
  uint32_t q[kHeadDim / 16][2];
  LoadQueries<T, kHeadDim>(a, place.row, place.first_head, place.num_heads, q);
  int num_written = 0;
  for (int split = first_split; split < splits.num_splits; split += num_blocks) {
    WarpState<kHeadDim> state = {};
    state.maximum[0] = state.maximum[1] = kLowest;
    const int end = min(context_length, (split + 1) * split_length);
    for (int begin = begin_of(split); begin < end; begin += kTile) {
      const int next = begin + kTile < end ? begin + kTile : begin_of(split + num_blocks);
      // A tile ends with its split or before: the context's end is enough to know.
      VisitTile<T, kHeadDim>(state, q, keys, values, a.scale, begin, next, context_length);
    }
    __syncthreads();  // the result of the split before has been read
    StoreWarp<kHeadDim>(result, state);
    __syncthreads();
    WriteDecodeBlock<T, kHeadDim>(result, a, place, split);
    ++num_written;
  }
  if (place.num_splits > 1 && IsLastDecodeBlock<kHeadDim>(result, a, place, num_written)) {
    MergeDecodeSplits<T, kHeadDim>(a, place);
  }
}

}  // namespace

bool HasDecodeAttention(const AttentionArguments& a) {
  return a.type != Element::kFloat32 && (a.head_dim == 64 || a.head_dim == 128) &&
         a.q_stride % 8 == 0 && IsAligned(a.q) && IsAligned(a.key) && IsAligned(a.value);
}

void LaunchDecodeAttention(const AttentionArguments& a, Stream stream) {
  const int group_size = a.num_heads / a.num_kv_heads;
  const int num_groups = a.num_kv_heads * ((group_size + kHeadsPerBlock - 1) / kHeadsPerBlock);
  const int64_t max_tiles = (a.max_context_length + kTile - 1) / kTile;
  int64_t num_blocks = (max_tiles + kMinTilesPerSplit - 1) / kMinTilesPerSplit;
  if (num_blocks < 1) num_blocks = 1;
  // Blocks that find no split cost time too: where the rows alone fill the GPU, there are none.
  const int64_t wanted = kWantedBlocks / (int64_t{num_groups} * a.num_decode_sequences);
  for (const int64_t limit : {int64_t{kMaxDecodeSplits}, wanted < 1 ? 1 : wanted}) {
    if (num_blocks > limit) num_blocks = limit;
  }
  const dim3 grid(static_cast<unsigned>(a.num_decode_sequences), static_cast<unsigned>(num_groups),
                  static_cast<unsigned>(num_blocks));
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      LaunchOverlapping(
          a.head_dim == 64 ? &DecodeAttentionKernel<T, 64> : &DecodeAttentionKernel<T, 128>, grid,
          dim3(kDecodeThreads), stream, a);
    }
  });
}

}  // namespace lockstep::worker::cuda
