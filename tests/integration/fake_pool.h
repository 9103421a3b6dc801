// A pool of workers without a model, and what it says.
#ifndef LOCKSTEP_TESTS_INTEGRATION_FAKE_POOL_H_
#define LOCKSTEP_TESTS_INTEGRATION_FAKE_POOL_H_

#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/worker_pool/grpc_worker_pool.h"
#include "tests/testing/fake_step_executor.h"

namespace lockstep::server {

// Long enough for a loaded machine; a test that passes waits for none of it.
inline constexpr auto kPatience = std::chrono::seconds(60);
// Of the pool, where a test does not want it to pass. Longer than kPatience: what is found within
// that was not found by waiting for this.
inline constexpr absl::Duration kDistantTimeout = absl::Minutes(10);
// For a test that wants a deadline to pass, and that everything else of it keeps the deadline all
// the same.
inline constexpr absl::Duration kShortTimeout = absl::Seconds(4);
inline constexpr absl::Duration kShutdownPatience = absl::Seconds(30);

// Collects what the pool says; each wait has a deadline.
class Recorder final : public WorkerPoolListener {
 public:
  void OnReady(const PoolCapacity& capacity) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    num_kv_blocks_ = capacity.num_kv_blocks;
    changed_.notify_all();
  }
  void OnStepResult(StepResult result) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    results_.push_back(std::move(result));
    changed_.notify_all();
  }
  void OnFailed(const absl::Status& status) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = status;
    changed_.notify_all();
  }

  // The KV blocks of the ready pool; 0 if it failed or nothing happened.
  uint64_t WaitUntilReady() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, kPatience, [this] { return num_kv_blocks_ || failure_; });
    EXPECT_FALSE(failure_.has_value()) << *failure_;
    return num_kv_blocks_.value_or(0);
  }
  std::vector<StepResult> WaitForResults(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, kPatience, [&] { return results_.size() >= count || failure_; });
    EXPECT_FALSE(failure_.has_value()) << *failure_;
    return results_;
  }
  std::string WaitForFailure() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, kPatience, [this] { return failure_.has_value(); });
    return failure_.has_value() ? std::string(failure_->message()) : "no failure";
  }
  bool has_failed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return failure_.has_value();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<uint64_t> num_kv_blocks_;
  std::vector<StepResult> results_;
  std::optional<absl::Status> failure_;
};

inline PoolOptions FakePool(uint32_t world_size, testing::Fault fault = testing::Fault::kNone,
                            int rank = 0, uint64_t step = 1) {
  PoolOptions options;
  options.world_size = world_size;
  options.configure.set_num_threads(1);
  options.worker_binary =
      std::filesystem::path(LOCKSTEP_BINARY_DIR).parent_path() / "tests/fake-worker";
  options.worker_arguments = {absl::StrCat(static_cast<int>(fault), ",", rank, ",", step)};
  options.start_timeout = kDistantTimeout;
  options.step_timeout = kDistantTimeout;
  return options;
}

// A step that admits a prompt into slot 0 when it is the first, and decodes from then on.
inline worker::v1::StepPlan Plan(uint64_t step, uint32_t num_prompt_tokens) {
  worker::v1::StepPlan plan;
  plan.set_step(step);
  auto& scheduled = *plan.add_scheduled();
  if (step == 1) {
    for (uint32_t i = 0; i < num_prompt_tokens; ++i) {
      if (i == 0) plan.add_admitted();
      plan.mutable_admitted(0)->add_token_ids(i);
    }
    scheduled.set_num_tokens(num_prompt_tokens);
    scheduled.add_new_blocks(0);
  } else {
    scheduled.set_position(num_prompt_tokens + static_cast<uint32_t>(step) - 2);
    scheduled.set_num_tokens(1);
  }
  return plan;
}

inline constexpr uint32_t kNumManyRows = 100'000;  // of 64 logits each: 25.6 MB

// The first step: a prompt that wants the logits of all its positions.
inline worker::v1::StepPlan PlanWithManyLogits() {
  worker::v1::StepPlan plan = Plan(1, kNumManyRows);
  plan.mutable_admitted(0)->set_logits(worker::v1::LOGITS_ALL);
  return plan;
}

// Every row in order, in shards of two ranks, filled with its position.
inline void ExpectManyLogits(const StepResult& result) {
  uint32_t num_rows = 0;
  for (const SlotLogits& logits : result.logits) {
    EXPECT_EQ(logits.position, num_rows);
    ASSERT_EQ(logits.shards.size(), 2);
    for (const LogitShard& shard : logits.shards) {
      ASSERT_EQ(shard.bytes.size(), size_t{logits.num_rows} * 32 * sizeof(float));
      std::vector<float> values(size_t{logits.num_rows} * 32);
      std::memcpy(values.data(), shard.bytes.data(), shard.bytes.size());
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(values[i], static_cast<float>(num_rows + i / 32));
      }
    }
    num_rows += logits.num_rows;
  }
  EXPECT_EQ(num_rows, kNumManyRows);
}

inline std::vector<pid_t> Pids(const WorkerPool& pool) {
  std::vector<pid_t> pids;
  for (const v1::RankInfo& rank : pool.Ranks()) pids.push_back(static_cast<pid_t>(rank.pid()));
  return pids;
}

inline bool IsGone(pid_t pid) { return kill(pid, 0) != 0 && errno == ESRCH; }

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_INTEGRATION_FAKE_POOL_H_
