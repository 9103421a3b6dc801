#ifndef LOCKSTEP_WORKER_COMM_NCCL_COMMUNICATOR_H_
#define LOCKSTEP_WORKER_COMM_NCCL_COMMUNICATOR_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"

namespace lockstep::worker {

inline constexpr int kMaxNcclRanks = 64;

// See MakeCommunicatorHandle. In a build without CUDA: FAILED_PRECONDITION.
absl::StatusOr<std::string> MakeNcclHandle();

// Connects GPUs, of one machine or several, by NCCL, on the stream of options.device, which has to
// be the current one in every call. Operations may be recorded in graphs, which must be gone before
// the communicator is.
//
// Sums are not NCCL's, whose order of additions depends on the topology and the message's size: the
// parts are exchanged and added in the order of the ranks, so that ranks agree and runs repeat bit
// for bit; see nccl_sum.h.
//
// Ranks that are known to share a GPU, for tests, reach each other through the network, as hosts
// would. Others that do are refused.
//
// NCCL works without blocking: each of its calls is polled for its end, with the deadline, and
// Abort ends it from any thread. NCCL does not tell which rank is missing.
absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(
    const CommunicatorOptions& options);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_NCCL_COMMUNICATOR_H_
