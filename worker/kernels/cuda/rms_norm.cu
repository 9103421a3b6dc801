#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {
namespace {

constexpr int kThreads = 256;

// The sum of all threads' values, in a fixed order.
__device__ float BlockSum(float value) {
  __shared__ float sums[kThreads / kWarpSize];
  value = WarpSum(value);
  if (threadIdx.x % kWarpSize == 0) sums[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  float sum = 0.0F;
  for (int warp = 0; warp < kThreads / kWarpSize; ++warp) sum += sums[warp];
  return sum;
}

// The block's row, in packs of kSize elements.
template <typename X, typename T, int kSize>
struct Row {
  using Floats = Pack<float, kSize>;
  using XBits = Bits<Pack<X, kSize>>;
  using WeightBits = Bits<Pack<T, kSize>>;
  const XBits* x;
  Floats* residual;  // or null
  const WeightBits* weight;
  Pack<T, kSize>* out;

  __device__ explicit Row(const RmsNormArguments& a) {
    const auto row = static_cast<int64_t>(blockIdx.x);
    x = reinterpret_cast<const XBits*>(static_cast<const X*>(a.x) + row * a.x_stride);
    residual = a.residual == nullptr
                   ? nullptr
                   : reinterpret_cast<Floats*>(a.residual + row * a.residual_stride);
    weight = static_cast<const WeightBits*>(a.weight);
    out = reinterpret_cast<Pack<T, kSize>*>(static_cast<T*>(a.out) + row * a.out_stride);
  }
  __device__ Floats LoadResidual(int i) const {
    return residual == nullptr ? Floats{} : residual[i];
  }
  // What is to be normalized; `old` is the residual.
  __device__ Floats Sum(XBits bits, const Floats& old) const {
    const auto in = FromBits<Pack<X, kSize>>(bits);
    Floats sum;
    for (int j = 0; j < kSize; ++j) {
      const float value = ToFloat(in.elements[j]);
      sum.elements[j] = residual == nullptr ? value : value + old.elements[j];
    }
    return sum;
  }
  __device__ void Store(int i, const Floats& sum, float& squares) const {
    if (residual != nullptr) residual[i] = sum;
    for (int j = 0; j < kSize; ++j) squares += sum.elements[j] * sum.elements[j];
  }
  __device__ void Write(int i, const Floats& sum, float scale, WeightBits bits) const {
    const auto factor = FromBits<Pack<T, kSize>>(bits);
    Pack<T, kSize> result;
    for (int j = 0; j < kSize; ++j) {
      const float normalized = ToFloat(static_cast<T>(sum.elements[j] * scale));
      result.elements[j] = static_cast<T>(normalized * ToFloat(factor.elements[j]));
    }
    out[i] = result;
  }
};

// One block per row. A thread keeps its first kKept packs in registers, and their weights, which no
// kernel writes and which are there before the row is.
template <typename X, typename T, int kSize, int kKept>
__global__ void __launch_bounds__(kThreads) RmsNormKernel(RmsNormArguments a) {
  LetNextKernelBegin();
  const Row<X, T, kSize> row(a);
  const int num_packs = a.hidden / kSize;
  const int thread = static_cast<int>(threadIdx.x);
  int packs[kKept];  // behind the last one, the last: no load hangs on a branch
  for (int n = 0; n < kKept; ++n) packs[n] = min(n * kThreads + thread, num_packs - 1);
  Bits<Pack<T, kSize>> weights[kKept];
  for (int n = 0; n < kKept; ++n) weights[n] = row.weight[packs[n]];
  AwaitEarlierKernels();

  // All loads come before the first store, which for all that the compiler knows might be to where
  // they read.
  Bits<Pack<X, kSize>> in[kKept];
  Pack<float, kSize> kept[kKept];
  for (int n = 0; n < kKept; ++n) in[n] = row.x[packs[n]];
  for (int n = 0; n < kKept; ++n) kept[n] = row.LoadResidual(packs[n]);
  for (int n = 0; n < kKept; ++n) kept[n] = row.Sum(in[n], kept[n]);
  float squares = 0.0F;
  for (int n = 0; n < kKept; ++n) {
    if (n * kThreads + thread < num_packs) row.Store(packs[n], kept[n], squares);
  }
  for (int i = kKept * kThreads + thread; i < num_packs; i += kThreads) {
    row.Store(i, row.Sum(row.x[i], row.LoadResidual(i)), squares);
  }
  const float mean = BlockSum(squares) / static_cast<float>(a.hidden);
  const float scale = 1.0F / sqrtf(mean + a.epsilon);
  for (int n = 0; n < kKept; ++n) {
    if (n * kThreads + thread < num_packs) row.Write(packs[n], kept[n], scale, weights[n]);
  }
  for (int i = kKept * kThreads + thread; i < num_packs; i += kThreads) {
    const auto sum = row.residual != nullptr ? row.residual[i] : row.Sum(row.x[i], {});
    row.Write(i, sum, scale, row.weight[i]);
  }
}

bool HasPacks(const void* pointer, int64_t stride) { return IsAligned(pointer) && stride % 4 == 0; }

}  // namespace

void LaunchRmsNorm(const RmsNormArguments& a, Stream stream) {
  if (a.num_rows == 0 || a.hidden == 0) return;
  const bool is_aligned = a.hidden % 4 == 0 && HasPacks(a.x, a.x_stride) &&
                          HasPacks(a.residual, a.residual_stride) && HasPacks(a.weight, 0) &&
                          HasPacks(a.out, a.out_stride);
  DispatchElement(a.type, [&](auto element) {
    using T = decltype(element);
    auto* kernel = is_aligned ? &RmsNormKernel<float, T, 4, 4> : &RmsNormKernel<float, T, 1, 4>;
    if (a.x_type != Element::kFloat32) {
      kernel = is_aligned ? &RmsNormKernel<T, T, 4, 4> : &RmsNormKernel<T, T, 1, 4>;
    }
    LaunchOverlapping(kernel, dim3(static_cast<unsigned>(a.num_rows)), dim3(kThreads), stream, a);
  });
}

}  // namespace lockstep::worker::cuda
