#include "worker/runtime/self_test.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/comm/nccl_sum.h"
#include "worker/layers/step_batch.h"
#include "worker/sampling/token_weights.h"

namespace lockstep::worker {
namespace {

constexpr int kNumMeasurements = 5;
// After which the numbers of a tested sum repeat: a prime, so that no two slices are equal.
constexpr int64_t kTestPeriod = 1021;
constexpr std::chrono::milliseconds kSlowSum(5);

StepBatch TestBatch(int64_t num_tokens, int64_t vocab_size, at::Device device) {
  std::vector<int32_t> ids(static_cast<size_t>(num_tokens));
  std::vector<int32_t> positions(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 97 % vocab_size);
  std::iota(positions.begin(), positions.end(), 0);
  const auto int32s = at::TensorOptions().dtype(at::kInt);
  const auto from = [&](const std::vector<int32_t>& values) {
    at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, int32s);
    std::copy(values.begin(), values.end(), tensor.data_ptr<int32_t>());
    return tensor.to(device);
  };
  StepBatch batch;
  batch.num_tokens = num_tokens;
  batch.token_ids = from(ids);
  batch.positions = from(positions);
  batch.cache_slots = batch.positions.to(at::kLong);
  const auto length = static_cast<int32_t>(num_tokens);
  batch.attention = {.query_start_locations = from({0, length}),
                     .context_lengths = from({length}),
                     .block_tables = from({0}).view({1, 1})};
  batch.rope_spans = {{.num_rows = num_tokens, .sequence_length = num_tokens}};
  batch.logit_rows = from({length - 1}).to(at::kLong);
  batch.num_logit_rows = 1;
  return batch;
}

absl::Status CheckAgreement(const at::Tensor& hidden, Communicator& communicator) {
  const auto checksum = static_cast<int64_t>(LlamaModel::Checksum(hidden));
  const auto options = at::TensorOptions().dtype(at::kLong);
  const at::Tensor own = at::full({1}, checksum, options).to(hidden.device());
  at::Tensor all = at::empty({communicator.world_size(), 1}, own.options());
  if (absl::Status status = communicator.AllGather(own, all); !status.ok()) return status;
  if (absl::Status status = communicator.Wait(); !status.ok()) return status;
  const at::Tensor host = all.cpu();
  const auto* checksums = host.const_data_ptr<int64_t>();
  for (int rank = 0; rank < communicator.world_size(); ++rank) {
    if (checksums[rank] != checksums[0]) {
      return absl::InternalError(
          absl::StrCat("self-test: rank ", rank,
                       " computed other hidden states than rank 0: its processor or its transport "
                       "to the others is broken, or the weights that it has read are others"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TestCollectives(Communicator& communicator, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  const int world_size = communicator.world_size();
  const auto own = static_cast<float>(communicator.rank() + 1);
  const auto sum_of_ranks = static_cast<float>(world_size * (world_size + 1) / 2);
  // Of the last size the ranks each add a part, which then has to come to the right place.
  const int64_t shared = (kMinSlicedSum + world_size - 1) / world_size * world_size;
  for (const int64_t size : {int64_t{1}, int64_t{1000}, int64_t{100'000}, shared}) {
    // Small whole numbers: every order of summation is exact.
    at::Tensor data = at::arange(size, options).remainder_(kTestPeriod).add_(1).mul_(own);
    if (absl::Status status = communicator.AllReduceSum(data); !status.ok()) return status;
    if (absl::Status status = communicator.Wait(); !status.ok()) return status;
    const at::Tensor host = data.cpu();
    const std::span<const float> sums(host.const_data_ptr<float>(), static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      const float expected = sum_of_ranks * static_cast<float>(i % kTestPeriod + 1);
      if (const float sum = sums[static_cast<size_t>(i)]; sum != expected) {
        return absl::InternalError(absl::StrCat("self-test: an all-reduce of ", size,
                                                " elements gave ", sum, " instead of ", expected,
                                                " as element ", i));
      }
    }
  }
  at::Tensor token = at::full({1}, own, options);
  if (absl::Status status = communicator.Broadcast(token); !status.ok()) return status;
  if (absl::Status status = communicator.Wait(); !status.ok()) return status;
  if (const float value = token.cpu().const_data_ptr<float>()[0]; value != 1.0F) {
    return absl::InternalError(
        absl::StrCat("self-test: a broadcast gave ", value, " instead of 1"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CollectiveSpeed> MeasureCollectives(Communicator& communicator, at::Device device) {
  using Seconds = std::chrono::duration<double>;
  std::vector<Seconds> medians;
  for (const int64_t num_bytes : {kSmallSumBytes, kLargeSumBytes}) {
    const int64_t size = num_bytes / static_cast<int64_t>(sizeof(float));
    at::Tensor data = at::full({size}, 0.0, at::TensorOptions().dtype(at::kFloat).device(device));
    std::vector<Seconds> times;
    for (int run = 0; run <= kNumMeasurements; ++run) {
      const auto begin = std::chrono::steady_clock::now();
      absl::Status status = communicator.AllReduceSum(data);
      if (status.ok()) status = communicator.Wait();
      if (!status.ok()) return status;
      if (run > 0) times.push_back(std::chrono::steady_clock::now() - begin);  // the first warms up
    }
    std::nth_element(times.begin(), times.begin() + kNumMeasurements / 2, times.end());
    medians.push_back(times[kNumMeasurements / 2]);
  }
  return CollectiveSpeed{
      .small = medians[0],
      .bytes_per_second = static_cast<double>(kLargeSumBytes) / medians[1].count()};
}

std::string DescribeSpeed(const CollectiveSpeed& speed, int world_size) {
  std::string text =
      absl::StrFormat("a sum over %d ranks takes %.0f us for %d KiB, and %d MiB go at %.1f GB/s",
                      world_size, speed.small.count() * 1e6, kSmallSumBytes >> 10,
                      kLargeSumBytes >> 20, speed.bytes_per_second * 1e-9);
  if (speed.small > kSlowSum) {
    absl::StrAppend(&text,
                    "; so slow a sum means that ranks share cores or a GPU, or that the network "
                    "between them is not the one that was meant (NCCL_DEBUG=INFO names it)");
  }
  return text;
}

absl::Status TestForward(LlamaModel& model, Communicator& communicator, KvCache& cache,
                         at::Device device, int64_t num_tokens, const std::string& model_dir) {
  const StepBatch batch = TestBatch(num_tokens, model.vocab_size(), device);
  at::Tensor hidden;
  absl::Status status = model.Forward(batch, communicator, cache, hidden);
  if (status.ok()) status = communicator.Wait();
  if (!status.ok()) return status;
  if (status = CheckAgreement(hidden, communicator); !status.ok()) return status;
  at::Tensor logits;
  status = model.Logits(hidden, communicator, logits);
  if (status.ok()) status = communicator.Wait();
  if (!status.ok() || communicator.rank() != 0) return status;
  const at::Tensor host = logits.cpu();
  const std::span<const float> row(host.const_data_ptr<float>(), static_cast<size_t>(host.numel()));
  if (!FindMaximum(row).is_valid) {
    return absl::InternalError(
        absl::StrCat("self-test: the logits of ", model_dir,
                     " are not finite: its weights are damaged or overflow the dtype; fetch them "
                     "again, or try --dtype bfloat16 or float32"));
  }
  return absl::OkStatus();
}

}  // namespace lockstep::worker
