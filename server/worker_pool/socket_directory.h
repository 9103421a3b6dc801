// A directory for a Unix socket that nobody but this user can reach.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_SOCKET_DIRECTORY_H_
#define LOCKSTEP_SERVER_WORKER_POOL_SOCKET_DIRECTORY_H_

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"

namespace lockstep::server {

class SocketDirectory {
 public:
  // Under XDG_RUNTIME_DIR, TMPDIR or /tmp, whichever can be written to and is short enough for a
  // socket's address. Removes there what servers left that were killed days ago.
  static absl::StatusOr<std::unique_ptr<SocketDirectory>> Make();

  // Removes the directory and the socket. Connections that are open stay open.
  ~SocketDirectory();
  SocketDirectory(const SocketDirectory&) = delete;
  SocketDirectory& operator=(const SocketDirectory&) = delete;

  std::filesystem::path socket_path() const { return directory_ / "workers.sock"; }

 private:
  explicit SocketDirectory(std::filesystem::path directory) : directory_(std::move(directory)) {}

  const std::filesystem::path directory_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_SOCKET_DIRECTORY_H_
