#include "server/app/open_files.h"

#include <sys/resource.h>

#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

// Its own, a worker's or two, and a few connections.
constexpr rlim_t kMinOpenFiles = 24;

}  // namespace

absl::Status RaiseOpenFilesLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= kMinOpenFiles) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the process may have ", limit.rlim_cur, " files open at a time, and needs ",
                   kMinOpenFiles, " to start, and one for each connection: raise ulimit -n"));
}

}  // namespace lockstep::server
