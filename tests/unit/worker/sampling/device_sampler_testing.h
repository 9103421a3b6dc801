#ifndef LOCKSTEP_TESTS_UNIT_WORKER_SAMPLING_DEVICE_SAMPLER_TESTING_H_
#define LOCKSTEP_TESTS_UNIT_WORKER_SAMPLING_DEVICE_SAMPLER_TESTING_H_

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <c10/core/StreamGuard.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/device/compute_device.h"
#include "worker/sampling/device_sampler.h"
#include "worker/sampling/sampler.h"
#ifdef LOCKSTEP_EMULATES_CUDA
#include "tests/testing/cuda_emulation/emulation.h"
#include "worker/device/cpu_device.h"
#endif

namespace lockstep::worker {

// A row of logits, and what DeviceSampler::Row borrows.
struct SamplerCase {
  std::vector<float> logits;  // [vocab_size], the same for all rows of a batch
  SamplingParameters parameters;
  std::vector<uint32_t> history;
  std::vector<uint32_t> mask;
  bool is_pending = false;  // the last of the history is on the device alone
  std::optional<DeviceSampler::KnownToken> known;
};

// What a batch reads and writes on the device, to be kept until it is collected.
struct EnqueuedBatch {
  at::Tensor logits;
  at::Tensor last_tokens;
  at::Tensor token_ids;
  int ticket = 0;
};

// DeviceSampler on a GPU. Emulated, each test runs twice, with the threads of a block in either
// order.
class DeviceSamplerTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
#ifdef LOCKSTEP_EMULATES_CUDA
    using testing::emulation::ThreadOrder;
    testing::emulation::SetThreadOrder(GetParam() ? ThreadOrder::kDescending
                                                  : ThreadOrder::kAscending);
    device_ = std::make_unique<CpuDevice>();
#else
    auto device = OpenDevice("cuda");
    if (!device.ok()) GTEST_SKIP() << device.status();
    device_ = *std::move(device);
#endif
    stream_.emplace(device_->stream());
  }

  std::unique_ptr<DeviceSampler> MakeSampler(size_t max_rows, size_t vocab_size) const {
    return std::make_unique<DeviceSampler>(
        *device_, DeviceSampler::Limits{.max_rows = static_cast<int64_t>(max_rows),
                                        .vocab_size = static_cast<int64_t>(vocab_size)});
  }

  // The pending token of row i lies in slot num_rows - 1 - i, among others.
  EnqueuedBatch Enqueue(DeviceSampler& sampler, const std::vector<SamplerCase>& cases) const {
    const auto num_rows = static_cast<int64_t>(cases.size());
    std::vector<float> logits;
    std::vector<int32_t> last_tokens(cases.size(), 0);
    std::vector<DeviceSampler::Row> rows;
    for (size_t i = 0; i < cases.size(); ++i) {
      const SamplerCase& entry = cases[i];
      logits.insert(logits.end(), entry.logits.begin(), entry.logits.end());
      DeviceSampler::Row& row = rows.emplace_back();
      row.parameters = &entry.parameters;
      row.position = static_cast<uint32_t>(entry.history.size());
      row.history = entry.history;
      row.mask = entry.mask;
      row.known = entry.known;
      if (!entry.is_pending) continue;
      row.history = row.history.first(row.history.size() - 1);
      row.pending_slot = static_cast<int32_t>(cases.size() - 1 - i);
      last_tokens[cases.size() - 1 - i] = static_cast<int32_t>(entry.history.back());
    }
    EnqueuedBatch batch;
    batch.logits = OnDevice(at::tensor(logits, at::kFloat).view({num_rows, -1}));
    batch.last_tokens = OnDevice(at::tensor(last_tokens, at::kInt));
    batch.token_ids = OnDevice(at::full({num_rows}, -1, at::kLong));
    batch.ticket = sampler.Enqueue(rows, batch.logits, batch.last_tokens, batch.token_ids);
    return batch;
  }

  at::Tensor EmptyTensor(std::vector<int64_t> shape, at::ScalarType dtype) const {
    return OnDevice(at::full(shape, 0, dtype));
  }

  // Once the device is done; the tokens on the device are those that the host is told.
  std::vector<SampledChoice> Collect(DeviceSampler& sampler, const EnqueuedBatch& batch) const {
    EXPECT_TRUE(device_->Synchronize().ok());
    auto choices = sampler.Collect(batch.ticket);
    const at::Tensor token_ids = batch.token_ids.cpu();
    for (size_t i = 0; i < choices.size(); ++i) {
      EXPECT_EQ(token_ids.const_data_ptr<int64_t>()[i], choices[i].token_id) << "row " << i;
    }
    return choices;
  }

  std::vector<SampledChoice> Sample(const std::vector<SamplerCase>& cases) const {
    const auto sampler = MakeSampler(cases.size(), cases.front().logits.size());
    return Collect(*sampler, Enqueue(*sampler, cases));
  }

  uint32_t SampleOne(const SamplerCase& entry) const {
    const auto choices = Sample({entry});
    return choices.front().token_id;
  }

  static void ExpectSameReport(const TokenReport& actual, const TokenReport& expected,
                               const std::string& what) {
    constexpr float kTolerance = 1e-6F;
    const auto near = [&](float a, float b) {
      return a == b || std::abs(a - b) <= kTolerance * (1.0F + std::abs(b));
    };
    EXPECT_TRUE(near(actual.logprob, expected.logprob))
        << what << ": " << actual.logprob << ", expected " << expected.logprob;
    EXPECT_EQ(actual.rank, expected.rank) << what;
    ASSERT_EQ(actual.top.size(), expected.top.size()) << what;
    for (size_t i = 0; i < expected.top.size(); ++i) {
      EXPECT_EQ(actual.top[i].token_id, expected.top[i].token_id) << what << ", place " << i;
      EXPECT_TRUE(near(actual.top[i].logprob, expected.top[i].logprob)) << what << ", place " << i;
    }
  }

  // Of Sampler, row by row.
  static void ExpectAsOnTheCpu(const std::vector<SampledChoice>& choices,
                               const std::vector<SamplerCase>& cases, const std::string& what) {
    ASSERT_EQ(choices.size(), cases.size());
    Sampler sampler;
    for (size_t i = 0; i < cases.size(); ++i) {
      const SamplerCase& entry = cases[i];
      const auto expected =
          sampler.Sample(entry.logits, entry.parameters,
                         static_cast<uint32_t>(entry.history.size()), entry.history, entry.mask);
      const std::string row = what + ", row " + std::to_string(i);
      EXPECT_EQ(choices[i].token_id, expected.token_id) << row;
      EXPECT_EQ(choices[i].is_broken, expected.is_broken) << row;
      ExpectSameReport(choices[i].report, expected.report, row);
    }
  }

  void ExpectAsOnTheCpu(const std::vector<SamplerCase>& cases, const std::string& what) const {
    const auto choices = Sample(cases);
    ExpectAsOnTheCpu(choices, cases, what);
  }

 private:
  at::Tensor OnDevice(const at::Tensor& tensor) const { return tensor.to(device_->device()); }

  std::unique_ptr<ComputeDevice> device_;
  std::optional<c10::StreamGuard> stream_;
};

inline std::string DeviceSamplerCaseName(const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "descending" : "ascending";
}

inline auto DeviceSamplerCases() {
#ifdef LOCKSTEP_EMULATES_CUDA
  return ::testing::Bool();
#else
  return ::testing::Values(false);
#endif
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_TESTS_UNIT_WORKER_SAMPLING_DEVICE_SAMPLER_TESTING_H_
