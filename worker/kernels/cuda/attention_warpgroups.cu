// Attention of many rows of a sequence by products of warpgroups (H100, H200), after Shah et al.
// 2024 (FlashAttention-3): two warpgroups with 64 rows each share the keys and values, which are
// copied in tiles of 64 positions counted from 0, one tile ahead. What hides barriers and
// exponentials is that four warpgroups share a multiprocessor.
#include "worker/kernels/cuda/attention_warp.cuh"
#include "worker/kernels/cuda/warpgroup.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpgroupSize = 128;
constexpr int kBlockRows = kThreads / kWarpSize * kWarpRows;
constexpr int kBlocksPerMultiprocessor = 2;

template <typename T, int kHeadDim>
struct Stage {
  SwizzledTile<T, kHeadDim> keys;
  SwizzledTile<T, kHeadDim> values;
};

template <typename T, int kHeadDim>
struct BlockMemory {
  SwizzledTile<T, kHeadDim> queries[kThreads / kWarpgroupSize];  // and the results, in the end
  Stage<T, kHeadDim> stages[2];
};

// One 16-byte piece of every kRowStep-th row is a thread's to copy.
template <int kHeadDim>
struct CopyPlace {
  static constexpr int kPieces = kHeadDim / 8;
  static constexpr int kRowStep = kThreads / kPieces;
  int first_row = static_cast<int>(threadIdx.x) / kPieces;
  int piece = static_cast<int>(threadIdx.x) % kPieces;
};

template <typename T, int kHeadDim>
__device__ void CopyQueries(BlockMemory<T, kHeadDim>& memory, const AttentionArguments& a,
                            const RowBlock& block) {
  const CopyPlace<kHeadDim> place;
  for (int i = 0; i < kBlockRows / place.kRowStep; ++i) {
    const int row = place.first_row + i * place.kRowStep;
    const RowPlace from = FindRow(a, block, row);
    const T* q = static_cast<const T*>(a.q) + (from.token < 0 ? 0 : from.token) * a.q_stride +
                 from.head * kHeadDim + place.piece * 8;
    CopyAsync(memory.queries[row / 64].Piece(row % 64, place.piece), q, from.token >= 0);
  }
}

template <typename T, int kHeadDim>
__device__ void CopyTile(Stage<T, kHeadDim>& stage, const PagedRows<T>& keys,
                         const PagedRows<T>& values, int begin, int end) {
  const CopyPlace<kHeadDim> place;
  constexpr int kNum = SwizzledTile<T, kHeadDim>::kRows / CopyPlace<kHeadDim>::kRowStep;
  int64_t offsets[kNum];
  for (int i = 0; i < kNum; ++i) {
    const int position = begin + place.first_row + i * place.kRowStep;
    // A position that exists stands in for one that does not: its address is good, and it is not
    // read.
    offsets[i] = keys.Offset(position < end ? position : begin) + place.piece * 8;
  }
  for (int i = 0; i < kNum; ++i) {
    const int row = place.first_row + i * place.kRowStep;
    const bool is_wanted = begin + row < end;
    CopyAsync(stage.keys.Piece(row, place.piece), keys.base() + offsets[i], is_wanted);
    CopyAsync(stage.values.Piece(row, place.piece), values.base() + offsets[i], is_wanted);
  }
}

// scores = q · kᵀ
template <typename T, int kHeadDim>
__device__ void ComputeScores(SwizzledTile<T, kHeadDim>& queries, SwizzledTile<T, kHeadDim>& keys,
                              float (&scores)[8][4]) {
  for (int n = 0; n < 8; ++n) {
    for (int e = 0; e < 4; ++e) scores[n][e] = 0.0F;
  }
  BeginProducts(scores);
  for (int step = 0; step < kHeadDim / 16; ++step) MultiplyRows(scores, queries, keys, step);
  FinishProducts(scores);
}

// out += weights · v
template <typename T, int kHeadDim>
__device__ void AddValues(WarpRows<kHeadDim>& state, SwizzledTile<T, kHeadDim>& values,
                          const float (&weights)[8][4]) {
  uint32_t p[4][4];
  for (int step = 0; step < 4; ++step) PackWeights<T>(weights, step, p[step]);
  BeginProducts(state.out);
  for (int step = 0; step < 4; ++step) {
    for (int part = 0; part < kHeadDim / 64; ++part) {
      MultiplyColumns(&state.out[part * 8], p[step], values, part, step);
    }
  }
  FinishProducts(state.out);
}

// By way of the memory of the warpgroup's queries, so that whole pieces are written.
template <typename T, int kHeadDim>
__device__ void WriteRows(const WarpRows<kHeadDim>& state, SwizzledTile<T, kHeadDim>& rows,
                          const AttentionArguments& a, const RowBlock& block) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int first_row = warp % 4 * kWarpRows;
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + lane / 4 + 8 * half;
    for (int i = 0; i < kHeadDim / 8; ++i) {
      const uint32_t bits = PackPair<T>(state.out[i][2 * half], state.out[i][2 * half + 1]);
      memcpy(rows.Piece(row, i) + lane % 4 * 2, &bits, sizeof(bits));
    }
  }
  __syncwarp();
  constexpr int kPieces = kHeadDim / 8;
  constexpr int kRowStep = kWarpSize / kPieces;
  for (int row = lane / kPieces; row < kWarpRows; row += kRowStep) {
    const RowPlace to = FindRow(a, block, warp * kWarpRows + row);
    if (to.token < 0) continue;
    T* out = static_cast<T*>(a.out) + to.token * a.out_stride + to.head * kHeadDim;
    const int piece = lane % kPieces;
    *reinterpret_cast<Pack<T, 8>*>(out + piece * 8) =
        *reinterpret_cast<const Pack<T, 8>*>(rows.Piece(first_row + row, piece));
  }
}

// In code for other GPUs than those with warpgroups, it is empty.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    WarpgroupAttentionKernel(AttentionArguments a) {
#ifdef LOCKSTEP_HAS_WARPGROUPS
  __shared__ RowBlock found;
  auto& memory = DynamicShared<BlockMemory<T, kHeadDim>>();
  LetNextKernelBegin();
  AwaitEarlierKernels();
  if (threadIdx.x < kWarpSize) {
    const RowBlock block = FindRowBlock<kBlockRows>(a);
    if (threadIdx.x == 0) found = block;
  }
  __syncthreads();
  const RowBlock block = found;
  if (block.sequence < 0) return;
  const PagedRows<T> keys(a, a.key, block.sequence, block.kv_head);
  const PagedRows<T> values(a, a.value, block.sequence, block.kv_head);
  CopyTile(memory.stages[0], keys, values, 0, block.end);
  CopyQueries(memory, a, block);
  CommitCopies();
  SwizzledTile<T, kHeadDim>& queries = memory.queries[threadIdx.x / kWarpgroupSize];
  WarpRows<kHeadDim> state;
  BeginRows(state, a, block);
  int stage = 0;
  constexpr int kTile = SwizzledTile<T, kHeadDim>::kRows;
  for (int begin = 0; begin < block.end; begin += kTile) {
    WaitForCopies<0>();
    ShowToMatrixUnits();
    // The tile is there for all, and all are done with the one before.
    __syncthreads();
    if (begin + kTile < block.end) {
      CopyTile(memory.stages[1 - stage], keys, values, begin + kTile, block.end);
      CommitCopies();
    }
    float scores[8][4];
    ComputeScores(queries, memory.stages[stage].keys, scores);
    ComputeWeights(state, a, block, begin, scores);
    AddValues(state, memory.stages[stage].values, scores);
    stage = 1 - stage;
  }
  EndRows(state);
  // All are done with the queries.
  __syncthreads();
  WriteRows(state, queries, a, block);
#endif
}

template <typename T, int kHeadDim>
void LaunchKernel(const AttentionArguments& a, Stream stream) {
  LaunchOverlapping<kDynamicBytes<BlockMemory<T, kHeadDim>>>(&WarpgroupAttentionKernel<T, kHeadDim>,
                                                             RowBlockGrid(a, kBlockRows),
                                                             dim3(kThreads), stream, a);
}

}  // namespace

bool HasWarpgroupAttention(const AttentionArguments& a) {
  return HasTileAttention(a) && IsAligned(a.q) && IsAligned(a.out) && a.q_stride % 8 == 0 &&
         a.out_stride % 8 == 0 && HasBody(&WarpgroupAttentionKernel<c10::BFloat16, 128>);
}

void LaunchWarpgroupAttention(const AttentionArguments& a, Stream stream) {
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      a.head_dim == 64 ? LaunchKernel<T, 64>(a, stream) : LaunchKernel<T, 128>(a, stream);
    }
  });
}

}  // namespace lockstep::worker::cuda
