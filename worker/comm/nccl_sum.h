#ifndef LOCKSTEP_WORKER_COMM_NCCL_SUM_H_
#define LOCKSTEP_WORKER_COMM_NCCL_SUM_H_

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

namespace lockstep::worker {

// How NCCL's communicator sums, in the order of the ranks either way, so that the bits are the
// same. With S elements and N ranks:
//   gathered   every rank gets all of the others' data and adds: (N - 1) · S elements come to a
//              rank, in one operation; N · S of scratch memory
//   in slices  every rank gets a slice of the others' data, adds it, and gives it to the others:
//              2 (N - 1) / N · S elements, in two operations; S of scratch memory
// Of two ranks both move as much. Below kMinSlicedSum the second operation's latency is taken for
// the larger part; where the two meet has not been measured on GPUs.
inline constexpr int64_t kMinSlicedSum = int64_t{1} << 18;

inline bool SumsInSlices(const at::Tensor& data /* [num_rows, n] or [n] */, int world_size) {
  // By the rows' length, so that it does not depend on their number whether there are slices.
  return world_size > 2 && data.numel() >= kMinSlicedSum && data.size(-1) % world_size == 0;
}

// Elements of scratch memory that a sum of `data` takes at most, or of fewer of its rows.
inline int64_t SumScratch(const at::Tensor& data /* [num_rows, n] or [n] */, int world_size) {
  if (world_size == 1) return 0;
  if (!SumsInSlices(data, world_size)) return world_size * data.numel();
  return std::max(data.numel(), world_size * kMinSlicedSum);
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_NCCL_SUM_H_
