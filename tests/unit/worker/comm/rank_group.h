#ifndef LOCKSTEP_TESTS_UNIT_WORKER_COMM_RANK_GROUP_H_
#define LOCKSTEP_TESTS_UNIT_WORKER_COMM_RANK_GROUP_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/comm/communicator.h"
#include "worker/device/cpu_device.h"

namespace lockstep::worker {

inline CommunicatorOptions RankOptions(const std::string& id, int rank, int world_size) {
  static CpuDevice device;  // has no state
  CommunicatorOptions options;
  options.device = &device;
  options.rank = rank;
  options.world_size = world_size;
  options.communicator_id = id;
  options.timeout = absl::Seconds(60);
  return options;
}

inline std::string UniqueId() {
  static std::atomic<int> num_ids{0};
  return absl::StrCat("unit-test-", getpid(), "-", num_ids++);
}

// Runs `body` on a thread for each rank of a new communicator.
inline void RunRanks(int world_size, const std::function<void(Communicator&)>& body) {
  const std::string id = UniqueId();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      auto communicator = CreateCommunicator(RankOptions(id, rank, world_size));
      ASSERT_TRUE(communicator.ok()) << communicator.status();
      body(**communicator);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_TESTS_UNIT_WORKER_COMM_RANK_GROUP_H_
