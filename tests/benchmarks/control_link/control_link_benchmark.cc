// How long a step takes that costs the workers nothing: plan down to every rank, results up,
// merged. control-link-benchmark PATH_OF_FAKE_WORKER [NUM_ROWS]
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "server/worker_pool/grpc_worker_pool.h"

namespace lockstep::server {
namespace {

using Clock = std::chrono::steady_clock;

class Counter final : public WorkerPoolListener {
 public:
  void OnReady(const PoolCapacity&) override { Advance(); }
  void OnStepResult(StepResult) override { Advance(); }
  void OnFailed(const absl::Status& status) override {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(1);
  }
  void WaitFor(uint64_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(30), [&] { return count_ >= count; })) {
      std::fprintf(stderr, "no answer within 30 s\n");
      std::exit(1);
    }
  }

 private:
  void Advance() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t count_ = 0;
};

// A decode step of sequences that were admitted with one token.
worker::v1::StepPlan Plan(uint64_t step, uint32_t num_rows) {
  worker::v1::StepPlan plan;
  plan.set_step(step);
  for (uint32_t slot = 0; slot < num_rows; ++slot) {
    if (step == 1) {
      plan.add_admitted()->set_slot(slot);
      plan.mutable_admitted(static_cast<int>(slot))->add_token_ids(slot);
    }
    auto& scheduled = *plan.add_scheduled();
    scheduled.set_slot(slot);
    scheduled.set_position(static_cast<uint32_t>(step - 1));
    scheduled.set_num_tokens(1);
  }
  return plan;
}

void Measure(const std::string& binary, uint32_t world_size, uint32_t num_rows) {
  constexpr uint64_t kNumSteps = 300;
  PoolOptions options;
  options.world_size = world_size;
  options.configure.set_num_threads(1);
  options.worker_binary = binary;
  options.worker_arguments = {"0,0,0"};
  Counter counter;
  GrpcWorkerPool pool(options);
  if (const absl::Status status = pool.Start(counter); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(1);
  }
  counter.WaitFor(1);
  std::vector<double> micros;
  for (uint64_t step = 1; step <= kNumSteps; ++step) {
    const worker::v1::StepPlan plan = Plan(step, num_rows);
    const auto start = Clock::now();
    pool.Submit(plan);
    counter.WaitFor(1 + step);
    micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::sort(micros.begin(), micros.end());
  std::printf("%2u ranks, %3u rows: round trip %6.0f us median, %6.0f us best, %6.0f us p99\n",
              world_size, num_rows, micros[micros.size() / 2], micros.front(),
              micros[micros.size() * 99 / 100]);
}

}  // namespace
}  // namespace lockstep::server

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s PATH_OF_FAKE_WORKER [NUM_ROWS]\n", argv[0]);
    return 2;
  }
  const auto num_rows = static_cast<uint32_t>(argc > 2 ? std::atoi(argv[2]) : 32);
  for (uint32_t world_size : {1, 2, 4}) lockstep::server::Measure(argv[1], world_size, num_rows);
}
