// Rates of Linear and PagedAttention on the shapes of Llama-3.2-1B, beside at::linear in the same
// process.
//
//   kernels_benchmark [num_threads] [isa level] [dtype]
//
// Weights are cycled through more memory than the caches hold, as in a forward pass.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "worker/kernels/kernel_context.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/paged_attention.h"

namespace lockstep::worker {
namespace {

// Seconds of the fastest of several calls of run(i).
double FastestCall(const std::function<void(int)>& run) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9;
  const auto end = Clock::now() + std::chrono::milliseconds(600);
  for (int i = 0; i < 6 || Clock::now() < end; ++i) {
    const auto start = Clock::now();
    run(i);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

at::Tensor Values(std::vector<int64_t> shape, at::ScalarType dtype) {
  at::Tensor values = at::empty(shape, at::TensorOptions(at::kFloat));
  float* data = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    data[i] = static_cast<float>(i * 7919 % 1021) / 1021 - 0.5f;
  return values.to(dtype);
}

void CompareLinear(KernelContext& context, const char* name, int64_t out_features,
                   int64_t in_features, at::ScalarType dtype) {
  const int64_t bytes = out_features * in_features * static_cast<int64_t>(c10::elementSize(dtype));
  const int num_copies = static_cast<int>(std::clamp<int64_t>((int64_t{200} << 20) / bytes, 1, 16));
  std::vector<at::Tensor> matrices;
  std::vector<LinearWeight> weights;
  for (int i = 0; i < num_copies; ++i) {
    matrices.push_back(Values({out_features, in_features}, dtype));
    weights.push_back(LinearWeight::Create(out_features, in_features, dtype, at::kCPU));
    weights.back().PackRows(0, out_features, matrices.back().const_data_ptr(), dtype, in_features);
  }
  for (const int64_t rows : {1, 4, 16, 32, 64, 512}) {
    const at::Tensor x = Values({rows, in_features}, dtype);
    at::Tensor out = at::empty({rows, out_features}, at::TensorOptions(dtype));
    const double ours = FastestCall([&](int i) {
      Linear(context, x, weights[static_cast<size_t>(i % num_copies)], std::nullopt, out);
    });
    const double torch =
        FastestCall([&](int i) { at::linear(x, matrices[static_cast<size_t>(i % num_copies)]); });
    const double flop = 2.0 * static_cast<double>(rows * out_features * in_features);
    std::printf(
        "%-8s %6ld x %-5ld rows %4ld   ours %7.1f GFLOP/s %6.2f GB/s   at::linear %7.1f GFLOP/s "
        "%6.2f GB/s   x%.2f\n",
        name, out_features, in_features, rows, flop / ours * 1e-9,
        static_cast<double>(bytes) / ours * 1e-9, flop / torch * 1e-9,
        static_cast<double>(bytes) / torch * 1e-9, torch / ours);
    std::fflush(stdout);
  }
}

// `num_rows` last tokens of each of `num_sequences` contexts of `length`.
void MeasureAttention(KernelContext& context, int64_t num_sequences, int64_t length,
                      int64_t num_rows, at::ScalarType dtype) {
  constexpr int64_t kHeads = 16, kKvHeads = 4, kHeadDim = 64, kBlockSize = 16;
  const int64_t blocks = (length + kBlockSize - 1) / kBlockSize;
  const KvCacheShapes shapes =
      GetKvCacheShapes(at::kCPU, num_sequences * blocks, kKvHeads, kBlockSize, kHeadDim);
  const KvCacheView cache = {Values({shapes.key.begin(), shapes.key.end()}, dtype),
                             Values({shapes.value.begin(), shapes.value.end()}, dtype)};
  std::vector<int32_t> starts = {0}, lengths, tables;
  for (int64_t s = 0; s < num_sequences; ++s) {
    starts.push_back(static_cast<int32_t>((s + 1) * num_rows));
    lengths.push_back(static_cast<int32_t>(length));
    for (int64_t b = 0; b < blocks; ++b) tables.push_back(static_cast<int32_t>(s * blocks + b));
  }
  const at::TensorOptions ints(at::kInt);
  const AttentionBatch batch = {at::tensor(starts, ints), at::tensor(lengths, ints),
                                at::tensor(tables, ints).view({num_sequences, blocks})};
  const at::Tensor q = Values({num_sequences * num_rows, kHeads * kHeadDim}, dtype);
  at::Tensor out = at::empty(q.sizes(), q.options());
  const double seconds =
      FastestCall([&](int) { PagedAttention(context, q, cache, batch, 0.125, out); });
  double visible = 0;  // keys seen by all rows
  for (int64_t row = 0; row < num_rows; ++row)
    visible += static_cast<double>(num_sequences * (length - row));
  const double bytes = static_cast<double>(cache.key.nbytes() + cache.value.nbytes());
  std::printf("attention %2ld x %4ld rows, context %5ld   %8.1f us  %6.1f GFLOP/s  %6.2f GB/s\n",
              num_sequences, num_rows, length, seconds * 1e6,
              visible * kHeads * kHeadDim * 4 / seconds * 1e-9, bytes / seconds * 1e-9);
}

int Run(int argc, char** argv) {
  KernelOptions options;
  if (argc > 1) options.num_threads = std::atoi(argv[1]);
  if (argc > 2) options.isa_level = ParseIsaLevel(argv[2]);
  const std::string type = argc > 3 ? argv[3] : "bfloat16";
  const at::ScalarType dtype = type == "float32"   ? at::kFloat
                               : type == "float16" ? at::kHalf
                                                   : at::kBFloat16;
  auto context = KernelContext::Create(options);
  if (!context.ok()) {
    std::fprintf(stderr, "%s\n", std::string(context.status().message()).c_str());
    return 1;
  }
  at::set_num_threads(options.num_threads);
  std::printf("%d threads, %s, %s\n", options.num_threads,
              std::string(IsaLevelName((*context)->isa_level())).c_str(), type.c_str());
  // One of two ranks.
  CompareLinear(**context, "qkv", 1536, 2048, dtype);
  CompareLinear(**context, "o", 2048, 1024, dtype);
  CompareLinear(**context, "gate_up", 8192, 2048, dtype);
  CompareLinear(**context, "down", 2048, 4096, dtype);
  CompareLinear(**context, "head", 64128, 2048, dtype);
  MeasureAttention(**context, 1, 512, 512, dtype);
  MeasureAttention(**context, 1, 4096, 512, dtype);
  MeasureAttention(**context, 1, 1024, 1, dtype);
  MeasureAttention(**context, 8, 2048, 1, dtype);
  MeasureAttention(**context, 16, 8192, 1, dtype);
  return 0;
}

}  // namespace
}  // namespace lockstep::worker

int main(int argc, char** argv) { return lockstep::worker::Run(argc, argv); }
