// From the server's options to the worker pool's.
#ifndef LOCKSTEP_SERVER_APP_POOL_SETUP_H_
#define LOCKSTEP_SERVER_APP_POOL_SETUP_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "server/app/checked_model.h"
#include "server/config/server_options.h"
#include "server/worker_pool/pool_options.h"

namespace lockstep::server {

struct PoolSurroundings {
  std::filesystem::path worker_binary;
  std::string token;        // LOCKSTEP_POOL_TOKEN
  int num_available_cores;  // cores' worth of time
  int num_allowed_cores;    // cores to run on
};

// INVALID_ARGUMENT where --pin-cores asks for more cores than there are.
absl::StatusOr<PoolOptions> MakePoolOptions(const ServerOptions& options, const CheckedModel& model,
                                            const PoolSurroundings& surroundings);

// lockstep-worker in the directory of this program, to which `own_program` links. NOT_FOUND names
// where it was looked for, or the link that cannot be read.
absl::StatusOr<std::filesystem::path> FindWorkerBinary(
    const std::filesystem::path& own_program = "/proc/self/exe");

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_POOL_SETUP_H_
