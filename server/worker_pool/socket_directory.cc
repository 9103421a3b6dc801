#include "server/worker_pool/socket_directory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lockstep::server {

absl::StatusOr<std::unique_ptr<SocketDirectory>> SocketDirectory::Make() {
  std::string tried;
  const char* const bases[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
  for (const char* base : bases) {
    if (base == nullptr || *base != '/') continue;
    std::string name = absl::StrCat(base, "/lockstep-XXXXXX");
    if (name.size() + sizeof("/workers.sock") > sizeof(sockaddr_un{}.sun_path)) {
      absl::StrAppend(&tried, " ", base, " (too long for a socket)");
    } else if (mkdtemp(name.data()) != nullptr) {  // mode 0700
      return std::unique_ptr<SocketDirectory>(new SocketDirectory(name));
    } else {
      absl::StrAppend(&tried, " ", base, " (", strerrordesc_np(errno), ")");
    }
  }
  return absl::FailedPreconditionError(absl::StrCat("no directory for the workers' socket; tried",
                                                    tried, ": set TMPDIR to a writable one"));
}

SocketDirectory::~SocketDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

}  // namespace lockstep::server
