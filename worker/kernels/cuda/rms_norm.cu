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

// One block per row, kSize elements per thread at a time, of which the first kKept stay in
// registers.
template <typename X, typename T, int kSize, int kKept>
__global__ void RmsNormKernel(RmsNormArguments a) {
  LetNextKernelBegin();
  AwaitEarlierKernels();
  const auto row = static_cast<int64_t>(blockIdx.x);
  const auto* x =
      reinterpret_cast<const Pack<X, kSize>*>(static_cast<const X*>(a.x) + row * a.x_stride);
  auto* residual = reinterpret_cast<Pack<float, kSize>*>(
      a.residual == nullptr ? nullptr : a.residual + row * a.residual_stride);
  const auto* weight = static_cast<const Pack<T, kSize>*>(a.weight);
  auto* out = reinterpret_cast<Pack<T, kSize>*>(static_cast<T*>(a.out) + row * a.out_stride);
  const int num_packs = a.hidden / kSize;

  Pack<float, kSize> kept[kKept];
  float squares = 0.0F;
  const auto add = [&](int i, Pack<float, kSize>& sum) {
    const Pack<X, kSize> in = x[i];
    for (int j = 0; j < kSize; ++j) sum.elements[j] = ToFloat(in.elements[j]);
    if (residual != nullptr) {
      const Pack<float, kSize> old = residual[i];
      for (int j = 0; j < kSize; ++j) sum.elements[j] += old.elements[j];
      residual[i] = sum;
    }
    for (int j = 0; j < kSize; ++j) squares += sum.elements[j] * sum.elements[j];
  };
  const int thread = static_cast<int>(threadIdx.x);
  for (int n = 0; n < kKept; ++n) {
    if (const int i = n * kThreads + thread; i < num_packs) add(i, kept[n]);
  }
  for (int i = kKept * kThreads + thread; i < num_packs; i += kThreads) {
    Pack<float, kSize> sum;
    add(i, sum);
  }
  const float mean = BlockSum(squares) / static_cast<float>(a.hidden);
  const float scale = 1.0F / sqrtf(mean + a.epsilon);
  const auto write = [&](int i, const Pack<float, kSize>& value) {
    const Pack<T, kSize> factor = weight[i];
    Pack<T, kSize> result;
    for (int j = 0; j < kSize; ++j) {
      const float normalized = ToFloat(static_cast<T>(value.elements[j] * scale));
      result.elements[j] = static_cast<T>(normalized * ToFloat(factor.elements[j]));
    }
    out[i] = result;
  };
  for (int n = 0; n < kKept; ++n) {
    if (const int i = n * kThreads + thread; i < num_packs) write(i, kept[n]);
  }
  for (int i = kKept * kThreads + thread; i < num_packs; i += kThreads) {
    Pack<float, kSize> value;
    if (residual != nullptr) {
      value = residual[i];
    } else {
      const Pack<X, kSize> in = x[i];
      for (int j = 0; j < kSize; ++j) value.elements[j] = ToFloat(in.elements[j]);
    }
    write(i, value);
  }
}

bool HasPacks(const void* pointer, int64_t stride) { return IsAligned(pointer) && stride % 4 == 0; }

}  // namespace

void LaunchRmsNorm(const RmsNormArguments& a, Stream stream) {
  if (a.num_rows == 0) return;
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
