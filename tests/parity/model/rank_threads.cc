#include "tests/parity/model/rank_threads.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::testing {

using worker::StepPlan;
using worker::StepResult;
using worker::WorkerConfig;

WorkerConfig SmallWorkerConfig(const std::string& model_dir) {
  WorkerConfig config;
  config.model_dir = model_dir;
  config.dtype = "float32";
  config.block_size = 8;
  config.max_num_seqs = 8;
  config.max_num_batched_tokens = 512;
  config.max_model_len = 512;
  config.num_threads = 1;
  config.collective_timeout_ms = 60'000;
  return config;
}

absl::StatusOr<std::unique_ptr<RankThreads>> RankThreads::Start(WorkerConfig config, int world_size,
                                                                const MakeExecutor& make_executor) {
  static std::atomic<int> num_pools{0};
  config.communicator_id = absl::StrCat("test-", getpid(), "-", num_pools++);
  auto ranks = std::make_unique<RankThreads>();
  ranks->loaded_.resize(static_cast<size_t>(world_size));
  for (int rank = 0; rank < world_size; ++rank) {
    ranks->executors_.push_back(make_executor());
  }
  absl::Status status = ranks->OnAllRanks([&](int rank) {
    WorkerConfig own = config;
    own.local_rank = static_cast<uint32_t>(rank);
    own.local_world_size = static_cast<uint32_t>(world_size);
    auto loaded = ranks->executor(rank).Load(own, rank, world_size, nullptr);
    if (loaded.ok()) ranks->loaded_[static_cast<size_t>(rank)] = *loaded;
    return loaded.status();
  });
  if (!status.ok()) return status;
  uint64_t num_blocks = UINT64_MAX;
  for (const auto& loaded : ranks->loaded_) num_blocks = std::min(num_blocks, loaded.num_kv_blocks);
  status = ranks->OnAllRanks([&](int rank) {
    return ranks->executor(rank).Start(num_blocks, ranks->loaded_[0].communicator_handle);
  });
  if (!status.ok()) return status;
  return ranks;
}

absl::StatusOr<StepResult> RankThreads::Execute(StepPlan plan) {
  plan.step = ++last_step_;
  std::vector<StepResult> results(executors_.size());
  absl::Status status = OnAllRanks([&](int rank) {
    auto result = executor(rank).Execute(plan);
    if (result.ok()) results[static_cast<size_t>(rank)] = *std::move(result);
    return result.status();
  });
  if (status.ok()) status = CheckAgreement(results, plan.step);
  if (!status.ok()) return status;
  return Join(std::move(results));
}

StepResult RankThreads::Join(std::vector<StepResult> results) {
  for (size_t i = 0; i < results[0].logits.size(); ++i) {
    const size_t num_rows = results[0].logits[i].num_rows;
    worker::UnfilledVector<float> rows;
    for (size_t row = 0; row < num_rows; ++row) {
      for (const StepResult& result : results) {
        const auto& shard = result.logits[i].logits;
        const auto num_columns = static_cast<std::ptrdiff_t>(shard.size() / num_rows);
        const auto begin = shard.begin() + static_cast<std::ptrdiff_t>(row) * num_columns;
        rows.insert(rows.end(), begin, begin + num_columns);
      }
    }
    results[0].logits[i].logits = std::move(rows);
  }
  return std::move(results[0]);
}

absl::Status RankThreads::CheckAgreement(const std::vector<StepResult>& results, uint64_t step) {
  for (const StepResult& result : results) {
    if (result.state_hash != results[0].state_hash || result.step != step) {
      return absl::InternalError(absl::StrCat("the ranks disagree after step ", step));
    }
  }
  return absl::OkStatus();
}

namespace {

// Calls `on_result` with each step's result, in order.
absl::Status RunAhead(worker::StepExecutor& executor, const std::vector<StepPlan>& plans,
                      const std::function<void(StepResult)>& on_result) {
  int num_under_way = 0;
  const auto finish = [&] {
    absl::StatusOr<StepResult> result = executor.Finish();
    if (!result.ok()) return result.status();
    --num_under_way;
    on_result(*std::move(result));
    return absl::OkStatus();
  };
  absl::Status status;
  for (const StepPlan& plan : plans) {
    while (status.ok() && num_under_way > 0 &&
           (num_under_way == executor.max_steps_under_way() || executor.NeedsFinishedSteps(plan))) {
      status = finish();
    }
    if (status.ok()) status = executor.Begin(plan);
    if (!status.ok()) return status;
    ++num_under_way;
  }
  while (status.ok() && num_under_way > 0) status = finish();
  return status;
}

}  // namespace

absl::StatusOr<std::vector<StepResult>> RankThreads::ExecuteAhead(std::vector<StepPlan> plans) {
  for (StepPlan& plan : plans) plan.step = ++last_step_;
  std::vector<std::vector<StepResult>> by_rank(executors_.size());
  absl::Status status = OnAllRanks([&](int rank) {
    std::vector<StepResult>& results = by_rank[static_cast<size_t>(rank)];
    return RunAhead(executor(rank), plans,
                    [&](StepResult result) { results.push_back(std::move(result)); });
  });
  std::vector<StepResult> joined;
  for (size_t i = 0; status.ok() && i < plans.size(); ++i) {
    std::vector<StepResult> of_step;
    for (auto& results : by_rank) of_step.push_back(std::move(results[i]));
    status = CheckAgreement(of_step, plans[i].step);
    joined.push_back(Join(std::move(of_step)));
  }
  if (!status.ok()) return status;
  return joined;
}

absl::Status RankThreads::OnAllRanks(const std::function<absl::Status(int)>& body) {
  std::vector<absl::Status> statuses(executors_.size());
  std::vector<std::thread> threads;
  for (int rank = 1; rank < world_size(); ++rank) {
    threads.emplace_back([&, rank] { statuses[static_cast<size_t>(rank)] = body(rank); });
  }
  statuses[0] = body(0);
  for (std::thread& thread : threads) thread.join();
  // The cause before its consequences on other ranks.
  absl::Status first;
  for (const absl::Status& status : statuses) {
    if (!status.ok() && (first.ok() || absl::IsCancelled(first))) first = status;
  }
  return first;
}

}  // namespace lockstep::testing
