// Takes connections, and goes on when the process lacked what one needs.
#ifndef LOCKSTEP_SERVER_NET_CONNECTION_ACCEPTOR_H_
#define LOCKSTEP_SERVER_NET_CONNECTION_ACCEPTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/net/tcp_listener.h"

namespace lockstep::server {

// gRPC stops listening for good at the first accept() that fails for want of a file descriptor or
// of memory. This one leaves newcomers in the backlog, and tries again.
class ConnectionAcceptor {
 public:
  // Takes a connection: non-blocking, without Nagle's delay, closed on exec.
  using OnConnection = std::function<void(FileDescriptor connection)>;

  // `num_reserved`: of the descriptors that the process may have, so many are left to others.
  // `on_connection` is called on a thread of its own, one call at a time, until the end of the
  // acceptor's life. UNAVAILABLE if the process has no file descriptor left.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Start(TcpListener listener,
                                                                   uint64_t num_reserved,
                                                                   OnConnection on_connection);
  // Closes the sockets that it listens on.
  ~ConnectionAcceptor();
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

 private:
  ConnectionAcceptor(TcpListener listener, uint64_t num_reserved, FileDescriptor stop,
                     OnConnection on_connection);
  void Run();
  // Until a socket has a newcomer, or for as long; false at the end.
  bool Wait(bool for_newcomers, absl::Duration timeout);
  // All that are there. False if one could not be taken.
  bool AcceptAll();
  bool HasDescriptors() const;
  void Warn(int error);

  const TcpListener listener_;
  const uint64_t num_reserved_;
  const FileDescriptor stop_;
  const OnConnection on_connection_;
  absl::Time last_warning_ = absl::InfinitePast();
  std::thread thread_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_NET_CONNECTION_ACCEPTOR_H_
