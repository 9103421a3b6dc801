// What lockstep-worker is started with.
#ifndef LOCKSTEP_WORKER_LINK_WORKER_OPTIONS_H_
#define LOCKSTEP_WORKER_LINK_WORKER_OPTIONS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lockstep::worker {

struct WorkerOptions {
  uint32_t rank = 0;
  uint32_t world_size = 1;
  // Where the frontend listens: host:port or unix:/path.
  std::string frontend;
  // The frontend may come up after its workers.
  absl::Duration dial_timeout = absl::Seconds(60);
  // The secret that the frontend asks for; may be empty.
  std::string pool_token;
  // Workers that share the cores that this one may use, where the frontend leaves the number of
  // threads to the worker. They share GPUs only where the frontend has started them.
  uint32_t local_world_size = 1;
  // This worker's number among those of its machine: which of the GPUs that it sees it takes,
  // modulo their number.
  uint32_t local_rank = 0;
  // The end of this pipe is the end of the frontend, which has started this worker; -1: it has not.
  int death_fd = -1;
  // The file for results that the frontend reads where they lie (worker/memory/result_file.h); -1:
  // none, results are sent.
  int result_fd = -1;
};

struct WorkerCommandLine {
  std::string text_to_print;  // --help, --version: print this and exit
  WorkerOptions options;
};

// Flags before environment: RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE as torchrun sets
// them, LOCKSTEP_FRONTEND, LOCKSTEP_DIAL_TIMEOUT; LOCKSTEP_POOL_TOKEN, LOCKSTEP_DEATH_FD and
// LOCKSTEP_RESULT_FD are variables alone. INVALID_ARGUMENT names the option or variable, the value,
// the limit and the fix.
absl::StatusOr<WorkerCommandLine> ParseWorkerOptions(
    int argc, const char* const* argv, const std::map<std::string, std::string>& environment);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_WORKER_OPTIONS_H_
