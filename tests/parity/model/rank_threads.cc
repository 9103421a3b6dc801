#include "tests/parity/model/rank_threads.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
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
  if (!status.ok()) return status;
  for (const StepResult& result : results) {
    if (result.state_hash != results[0].state_hash || result.step != plan.step) {
      return absl::InternalError(absl::StrCat("the ranks disagree after step ", plan.step));
    }
  }
  return std::move(results[0]);
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
