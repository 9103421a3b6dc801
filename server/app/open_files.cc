#include "server/app/open_files.h"

#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "server/rpc/grpc_server.h"

namespace lockstep::server {
namespace {

// Standard streams, gRPC's, listeners, signals and the like; and a few connections.
constexpr uint64_t kOwnFiles = 16;
constexpr uint64_t kFirstConnections = 8;
// A worker's output, its process, its file of results and its link.
constexpr uint64_t kFilesPerRank = 4;

}  // namespace

uint64_t MinOpenFiles(int num_ranks) {
  return kOwnFiles + kFilesPerRank * static_cast<uint64_t>(num_ranks) + kFirstConnections +
         GrpcServer::NumReservedFiles(num_ranks);
}

absl::Status RaiseOpenFilesLimit(int num_ranks) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  const uint64_t needed = MinOpenFiles(num_ranks);
  if (limit.rlim_cur >= needed) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the process may have ", limit.rlim_cur, " files open at a time, and needs ",
                   needed, " to start, and one for each connection: raise ulimit -n"));
}

}  // namespace lockstep::server
