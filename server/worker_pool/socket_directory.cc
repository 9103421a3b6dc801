#include "server/worker_pool/socket_directory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace lockstep::server {
namespace {

constexpr absl::string_view kPrefix = "lockstep-";
constexpr absl::string_view kRandomPart = "XXXXXX";
constexpr char kSocket[] = "workers.sock";
constexpr time_t kAbandonedAfter = 24 * 60 * 60;  // seconds; longer than any start

void RemoveDirectory(const std::filesystem::path& directory) {
  unlink((directory / kSocket).c_str());
  rmdir(directory.c_str());
}

// Those of killed servers: one that runs needs its directory only until its workers have dialled. A
// directory with anything but a socket in it stays.
void RemoveAbandoned(const char* base) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(base, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.size() != kPrefix.size() + kRandomPart.size()) continue;
    if (!absl::StartsWith(name, kPrefix)) continue;
    struct stat status;
    if (lstat(it->path().c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) continue;
    if (status.st_uid != geteuid() || time(nullptr) - status.st_mtime < kAbandonedAfter) continue;
    RemoveDirectory(it->path());
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketDirectory>> SocketDirectory::Make() {
  std::string tried;
  const char* const bases[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
  for (const char* base : bases) {
    if (base == nullptr || *base != '/') continue;
    const std::string pattern = absl::StrCat(base, "/", kPrefix, kRandomPart);
    if (pattern.size() + 1 + sizeof(kSocket) > sizeof(sockaddr_un{}.sun_path)) {
      absl::StrAppend(&tried, " ", base, " (too long for a socket)");
      continue;
    }
    RemoveAbandoned(base);
    std::string name = pattern;
    if (mkdtemp(name.data()) != nullptr) {  // mode 0700
      return std::unique_ptr<SocketDirectory>(new SocketDirectory(name));
    }
    absl::StrAppend(&tried, " ", base, " (", strerrordesc_np(errno), ")");
  }
  return absl::FailedPreconditionError(absl::StrCat("no directory for the workers' socket; tried",
                                                    tried, ": set TMPDIR to a writable one"));
}

SocketDirectory::~SocketDirectory() { RemoveDirectory(directory_); }

}  // namespace lockstep::server
