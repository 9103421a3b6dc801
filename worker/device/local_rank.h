#ifndef LOCKSTEP_WORKER_DEVICE_LOCAL_RANK_H_
#define LOCKSTEP_WORKER_DEVICE_LOCAL_RANK_H_

namespace lockstep::worker {

// A rank's number among those of its machine, and how many they are.
struct LocalRank {
  int rank = 0;
  int world_size = 1;
  // Whether all of them see the same GPUs, as those do that one process has started. A platform may
  // give each rank a GPU of its own, which all then see as their first and only one.
  bool sees_the_others_gpus = false;
};

// Which of the `num_gpus` that it sees this rank takes: ranks beyond their number begin anew.
inline int GpuIndex(const LocalRank& rank, int num_gpus) { return rank.rank % num_gpus; }

// How many ranks take that GPU, this one included, as far as it is known: ranks that see other GPUs
// are taken to have one each.
inline int NumRanksOnGpu(const LocalRank& rank, int num_gpus) {
  if (!rank.sees_the_others_gpus) return 1;
  return (rank.world_size - 1 - GpuIndex(rank, num_gpus)) / num_gpus + 1;
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_LOCAL_RANK_H_
