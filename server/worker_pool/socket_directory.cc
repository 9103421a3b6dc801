#include "server/worker_pool/socket_directory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
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

// A descriptor of the directory, locked until it is closed or the process ends; -1 where it is gone
// or somebody else's.
int LockDirectory(const std::filesystem::path& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  struct stat opened, named;
  if (fstat(fd, &opened) == 0 && opened.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
      lstat(directory.c_str(), &named) == 0 && named.st_ino == opened.st_ino) {
    return fd;
  }
  close(fd);
  return -1;
}

void RemoveDirectory(const std::filesystem::path& directory) {
  unlink((directory / kSocket).c_str());
  rmdir(directory.c_str());
}

// Those whose owner was killed. A directory with anything but a socket in it stays.
void RemoveAbandoned(const char* base) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(base, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.size() != kPrefix.size() + kRandomPart.size()) continue;
    if (!absl::StartsWith(name, kPrefix)) continue;
    const int fd = LockDirectory(it->path());
    if (fd < 0) continue;
    RemoveDirectory(it->path());
    close(fd);
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
    int lock = -1;
    // Another server may take the directory for abandoned before it is locked.
    while (lock < 0 && mkdtemp((name = pattern).data()) != nullptr) lock = LockDirectory(name);
    if (lock >= 0) return std::unique_ptr<SocketDirectory>(new SocketDirectory(name, lock));
    absl::StrAppend(&tried, " ", base, " (", strerrordesc_np(errno), ")");
  }
  return absl::FailedPreconditionError(absl::StrCat("no directory for the workers' socket; tried",
                                                    tried, ": set TMPDIR to a writable one"));
}

SocketDirectory::~SocketDirectory() {
  RemoveDirectory(directory_);
  close(lock_);
}

}  // namespace lockstep::server
