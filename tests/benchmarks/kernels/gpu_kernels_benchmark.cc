// Rates of the GPU's kernels on the shapes of Llama-3-8B in bfloat16, beside LibTorch's own.
//
//   gpu_kernels_benchmark
//
// Needs a GPU and neither gRPC nor a checkpoint. Weights are cycled through more memory than the
// caches hold, as in a forward pass. Times are the GPU's, of many calls recorded in one graph.
#include <ATen/Context.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/kv_cache_layout.h"
#include "worker/kernels/paged_attention.h"

namespace lockstep::worker {
namespace {

constexpr int kCallsPerGraph = 16;
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadDim = 128, kBlockSize = 16;

at::TensorOptions Bfloat16() { return at::TensorOptions(at::kBFloat16).device(at::kCUDA); }

// Microseconds of a call of run(i): the median over replays of a graph of several.
double Microseconds(const std::function<void(int)>& run) {
  // What run reads was written on another stream.
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  run(0);
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  for (int i = 0; i < kCallsPerGraph; ++i) run(i);
  graph.capture_end();
  std::vector<double> times;
  for (int i = 0; i < 9; ++i) {
    at::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
    begin.record();
    graph.replay();
    end.record();
    end.synchronize();
    times.push_back(begin.elapsed_time(end) * 1000.0 / kCallsPerGraph);
  }
  std::nth_element(times.begin(), times.begin() + 4, times.end());
  return times[4];
}

LinearWeight RandomWeight(int64_t out_features, int64_t in_features) {
  LinearWeight weight =
      LinearWeight::Create(out_features, in_features, at::kBFloat16, at::Device(at::kCUDA, 0));
  at::Tensor memory = weight.packed();
  memory.copy_(at::randn({out_features, in_features}, Bfloat16()));
  return weight;
}

void CompareLinear(const char* name, int64_t out_features, int64_t in_features) {
  const double bytes = 2.0 * static_cast<double>(out_features * in_features);
  std::vector<LinearWeight> weights;
  for (int i = 0; i < 4; ++i) weights.push_back(RandomWeight(out_features, in_features));
  for (const int64_t rows : {1, 8, 64, 256, 2048}) {
    const at::Tensor x = at::randn({rows, in_features}, Bfloat16());
    at::Tensor out = at::empty({rows, out_features}, Bfloat16());
    const double ours =
        Microseconds([&](int i) { cuda::Linear(x, weights[i % 4], std::nullopt, out); });
    const double torch =
        Microseconds([&](int i) { at::mm_out(out, x, weights[i % 4].packed().t()); });
    const double flop = 2.0 * static_cast<double>(rows * out_features * in_features);
    std::printf("linear %-8s %5ld rows  %8.1f us  %7.1f GB/s  %6.1f TFLOP/s   x%.2f of at::mm\n",
                name, rows, ours, bytes / ours * 1e-3, flop / ours * 1e-6, torch / ours);
    std::fflush(stdout);
  }
}

// A layer of a decode at batch 1 less its attention: what the products' beginnings and ends cost
// behind each other and behind norms, which a product that follows itself does not show.
void MeasureLayer() {
  constexpr int64_t kHidden = kHeads * kHeadDim, kQkv = (kHeads + 2 * kKvHeads) * kHeadDim,
                    kFfn = 14336;
  const LinearWeight qkv = RandomWeight(kQkv, kHidden), o = RandomWeight(kHidden, kHidden),
                     gate_up = RandomWeight(2 * kFfn, kHidden), down = RandomWeight(kHidden, kFfn);
  const at::Tensor norm = at::randn({kHidden}, Bfloat16());
  const at::Tensor attended = at::randn({1, kHidden}, Bfloat16());
  at::Tensor residual = at::randn({1, kHidden}, Bfloat16().dtype(at::kFloat));
  at::Tensor normed = at::empty({1, kHidden}, Bfloat16());
  at::Tensor projected = at::empty({1, kQkv}, Bfloat16()), gated = at::empty({1, kFfn}, Bfloat16());
  const double time = Microseconds([&](int) {
    cuda::RmsNorm(residual, nullptr, norm, 1e-5, normed);
    cuda::Linear(normed, qkv, std::nullopt, projected);
    cuda::LinearAdd(attended, o, std::nullopt, residual);
    cuda::RmsNorm(residual, nullptr, norm, 1e-5, normed);
    cuda::LinearSiluMultiply(normed, gate_up, std::nullopt, gated);
    cuda::LinearAdd(gated, down, std::nullopt, residual);
  });
  const double bytes = 2.0 * static_cast<double>(kHidden * (kQkv + kHidden + 3 * kFfn));
  std::printf("layer: four products with norms, one row  %8.1f us  %7.1f GB/s\n", time,
              bytes / time * 1e-3);
  std::fflush(stdout);
}

// The projection of one row to queries, keys and values, with RoPE and the write to the cache: in
// one kernel, and in two.
void MeasureProjection() {
  constexpr int64_t kHidden = kHeads * kHeadDim, kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
  std::vector<LinearWeight> weights;
  for (int i = 0; i < 4; ++i) weights.push_back(RandomWeight(kQkv, kHidden));
  const KvCacheShapes shapes = GetKvCacheShapes(at::kCUDA, 4, kKvHeads, kBlockSize, kHeadDim);
  KvCacheView cache = {at::randn(shapes.key, Bfloat16()), at::randn(shapes.value, Bfloat16())};
  const at::Tensor x = at::randn({1, kHidden}, Bfloat16());
  const at::Tensor cos_sin = at::randn({1, kHeadDim}, Bfloat16().dtype(at::kFloat));
  const at::Tensor slots = at::full({1}, 21, Bfloat16().dtype(at::kLong));
  at::Tensor qkv = at::empty({1, kQkv}, Bfloat16());
  const double one = Microseconds([&](int i) {
    cuda::LinearRopeAndCacheWrite(x, weights[i % 4].packed(), std::nullopt, cos_sin, slots, cache,
                                  qkv);
  });
  const double two = Microseconds([&](int i) {
    cuda::Linear(x, weights[i % 4], std::nullopt, qkv);
    cuda::RopeAndCacheWrite(qkv, cos_sin, slots, cache);
  });
  std::printf("projection with RoPE, one row  %8.1f us in one kernel, %8.1f us in two\n", one, two);
  std::fflush(stdout);
}

struct Problem {
  KvCacheView cache;
  AttentionBatch batch;
  at::Tensor q, out;
};

// Sequences of `context` tokens of which the last `num_queries` are asked for.
Problem MakeProblem(int64_t num_sequences, int64_t context, int64_t num_queries) {
  const int64_t blocks = (context + kBlockSize - 1) / kBlockSize;
  const KvCacheShapes shapes =
      GetKvCacheShapes(at::kCUDA, num_sequences * blocks, kKvHeads, kBlockSize, kHeadDim);
  const auto int32s = at::TensorOptions(at::kInt).device(at::kCUDA);
  Problem problem;
  problem.cache = {at::randn(shapes.key, Bfloat16()), at::randn(shapes.value, Bfloat16())};
  problem.batch = {
      at::arange(0, (num_sequences + 1) * num_queries, num_queries, int32s).contiguous(),
      at::full({num_sequences}, context, int32s),
      at::arange(num_sequences * blocks, int32s).view({num_sequences, blocks}),
      num_queries == 1 ? num_sequences : 0};
  problem.q = at::randn({num_sequences * num_queries, kHeads * kHeadDim}, Bfloat16());
  problem.out = at::empty_like(problem.q);
  return problem;
}

void CompareAttention(int64_t num_sequences, int64_t context, int64_t num_queries) {
  Problem problem = MakeProblem(num_sequences, context, num_queries);
  const double ours = Microseconds([&](int) {
    cuda::PagedAttention(problem.q, problem.cache, problem.batch, 0.088, problem.out);
  });
  // LibTorch's reads as many numbers without pages, each KV head once for its four query heads.
  const at::Tensor q = at::randn({num_sequences, kHeads, num_queries, kHeadDim}, Bfloat16());
  const at::Tensor k = at::randn({num_sequences, kKvHeads, context, kHeadDim}, Bfloat16());
  const at::Tensor v = at::randn({num_sequences, kKvHeads, context, kHeadDim}, Bfloat16());
  const double torch = Microseconds([&](int) {
    at::scaled_dot_product_attention(q, k, v, {}, 0.0, num_queries > 1, {}, /*enable_gqa=*/true);
  });
  const double bytes = 4.0 * static_cast<double>(num_sequences * context * kKvHeads * kHeadDim);
  const double flop =
      2.0 * static_cast<double>(num_sequences * num_queries * context * kHeads * kHeadDim) *
      (num_queries > 1 ? 1.0 : 2.0);
  std::printf(
      "attention %4ld sequences of %5ld tokens, %3ld queries each  %8.1f us  %7.1f GB/s  %6.1f "
      "TFLOP/s   x%.2f of LibTorch's\n",
      num_sequences, context, num_queries, ours, bytes / ours * 1e-3, flop / ours * 1e-6,
      torch / ours);
  std::fflush(stdout);
}

void Run() {
  const c10::InferenceMode no_gradients;
  CompareLinear("qkv", 6144, 4096);
  CompareLinear("o", 4096, 4096);
  CompareLinear("gate_up", 28672, 4096);
  CompareLinear("down", 4096, 14336);
  MeasureLayer();
  MeasureProjection();
  for (const int64_t context : {128, 1024, 8192}) CompareAttention(1, context, 1);
  for (const int64_t context : {300, 2048}) CompareAttention(64, context, 1);
  for (const int64_t context : {300, 1024}) CompareAttention(256, context, 1);
  for (const int64_t num_sequences : {1, 4}) CompareAttention(num_sequences, 512, 512);
  CompareAttention(1, 4096, 4096);
}

}  // namespace
}  // namespace lockstep::worker

int main() {
  if (!at::hasCUDA()) {
    std::fprintf(stderr, "gpu_kernels_benchmark: there is no GPU here: see nvidia-smi\n");
    return 1;
  }
  try {
    lockstep::worker::Run();
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "gpu_kernels_benchmark: %s\n", error.what_without_backtrace());
    return 1;
  }
  return 0;
}
