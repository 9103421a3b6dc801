// The product of one row with a matrix, which is memory-bound: it takes as long as reading the
// matrix. cuBLAS' kernels, which are made for many rows, take up to a fifth longer.
#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kFeatures = 2;  // output features of a block
constexpr int kDepth = 2;     // of each, what a thread reads at once
constexpr int kPack = 8;

template <typename T>
struct Weights {
  Pack<T, kPack> packs[kDepth][kFeatures];
};

template <typename T>
__device__ Weights<T> LoadWeights(const Pack<T, kPack>* const (&rows)[kFeatures], int index,
                                  int num_packs) {
  Weights<T> weights;
  for (int d = 0; d < kDepth; ++d) {
    const int i = index + d * kThreads;
    for (int f = 0; f < kFeatures; ++f) {
      weights.packs[d][f] = i < num_packs ? LoadOnce(rows[f] + i) : Pack<T, kPack>{};
    }
  }
  return weights;
}

template <typename T>
__device__ void Accumulate(const Weights<T>& weights, const Pack<T, kPack>* x, int index,
                           int num_packs, float (&sums)[kFeatures]) {
  for (int d = 0; d < kDepth; ++d) {
    const int i = index + d * kThreads;
    if (i >= num_packs) return;
    const Pack<T, kPack> in = x[i];
    for (int f = 0; f < kFeatures; ++f) {
      for (int j = 0; j < kPack; ++j) {
        sums[f] += ToFloat(weights.packs[d][f].elements[j]) * ToFloat(in.elements[j]);
      }
    }
  }
}

// The sums of the block's threads, in a fixed order; valid in thread 0.
__device__ void SumBlock(float (&sums)[kFeatures]) {
  __shared__ float parts[kWarps][kFeatures];
  for (int f = 0; f < kFeatures; ++f) {
    sums[f] = WarpSum(sums[f]);
    if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize][f] = sums[f];
  }
  __syncthreads();
  for (int f = 0; f < kFeatures; ++f) {
    sums[f] = 0.0F;
    for (int w = 0; w < kWarps; ++w) sums[f] += parts[w][f];
  }
}

template <typename T>
__device__ float Biased(const LinearRowArguments& a, float sum, int feature) {
  return a.bias == nullptr ? sum : sum + ToFloat(static_cast<const T*>(a.bias)[feature]);
}

// Grid: pairs of output features; with kSiluMultiply a pair is a gate and its factor.
template <typename T, typename Out, LinearRowResult kResult>
__global__ void __launch_bounds__(kThreads) LinearRowKernel(LinearRowArguments a) {
  constexpr bool kIsGated = kResult == LinearRowResult::kSiluMultiply;
  const int num_outputs = kIsGated ? a.out_features / 2 : a.out_features;
  int features[kFeatures];
  const Pack<T, kPack>* rows[kFeatures];
  const int num_packs = a.in_features / kPack;
  for (int f = 0; f < kFeatures; ++f) {
    const int feature = static_cast<int>(blockIdx.x) * (kIsGated ? 1 : kFeatures);
    features[f] = kIsGated ? feature + f * num_outputs : min(feature + f, num_outputs - 1);
    rows[f] = static_cast<const Pack<T, kPack>*>(a.weight) +
              static_cast<int64_t>(features[f]) * num_packs;
  }
  // No kernel writes weights: the first are on their way before the row that they meet is there.
  const int thread = static_cast<int>(threadIdx.x);
  Weights<T> weights = LoadWeights<T>(rows, thread, num_packs);
  AwaitEarlierKernels();
  const auto* x = static_cast<const Pack<T, kPack>*>(a.x);
  float sums[kFeatures] = {};
  for (int i = thread; i < num_packs; i += kDepth * kThreads) {
    if (i != thread) weights = LoadWeights<T>(rows, i, num_packs);
    Accumulate<T>(weights, x, i, num_packs, sums);
  }
  SumBlock(sums);
  if (thread != 0) return;
  Out* out = static_cast<Out*>(a.out);
  for (int f = 0; f < kFeatures; ++f) sums[f] = Biased<T>(a, sums[f], features[f]);
  if constexpr (kIsGated) {
    // As if both had been written and read again.
    const float gate = ToFloat(static_cast<T>(sums[0]));
    const float up = ToFloat(static_cast<T>(sums[1]));
    out[features[0]] = static_cast<Out>(gate / (1.0F + expf(-gate)) * up);
  } else {
    const int first = static_cast<int>(blockIdx.x) * kFeatures;
    for (int f = 0; f < kFeatures && first + f < num_outputs; ++f) {
      const float old = kResult == LinearRowResult::kAdd ? ToFloat(out[first + f]) : 0.0F;
      out[first + f] = static_cast<Out>(old + sums[f]);
    }
  }
}

template <typename T, typename Out>
auto ChooseKernel(LinearRowResult result) {
  switch (result) {
    case LinearRowResult::kAdd:
      return &LinearRowKernel<T, Out, LinearRowResult::kAdd>;
    case LinearRowResult::kSiluMultiply:
      return &LinearRowKernel<T, Out, LinearRowResult::kSiluMultiply>;
    default:
      return &LinearRowKernel<T, Out, LinearRowResult::kStore>;
  }
}

}  // namespace

bool HasLinearRow(const LinearRowArguments& a) {
  return a.type != Element::kFloat32 && a.in_features % kPack == 0 && IsAligned(a.x) &&
         IsAligned(a.weight);
}

void LaunchLinearRow(const LinearRowArguments& a, Stream stream) {
  const int num_blocks = (a.out_features + kFeatures - 1) / kFeatures;
  const dim3 grid(static_cast<unsigned>(num_blocks));
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      const auto kernel = a.out_type == Element::kFloat32 ? ChooseKernel<T, float>(a.result)
                                                          : ChooseKernel<T, T>(a.result);
      LaunchOverlapping(kernel, grid, dim3(kThreads), stream, a);
    }
  });
}

}  // namespace lockstep::worker::cuda
