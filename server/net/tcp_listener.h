// Sockets that take connections.
#ifndef LOCKSTEP_SERVER_NET_TCP_LISTENER_H_
#define LOCKSTEP_SERVER_NET_TCP_LISTENER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/net/file_descriptor.h"

namespace lockstep::server {

struct TcpListener {
  // Non-blocking, one for each address that the host has here, all on one port.
  std::vector<FileDescriptor> sockets;
  int port = 0;
};

// `host_port` is host:port, an IPv6 host in brackets. 0.0.0.0, [::], "*" and an empty host mean
// every address, of IPv6 too where the machine has it. Port 0 means any free one. UNAVAILABLE with
// the system's reason if it cannot be listened on, or if another process listens on one of the
// addresses.
absl::StatusOr<TcpListener> Listen(const std::string& host_port);

// The port that a socket is bound to on this side; 0 for what is no TCP socket.
int LocalPort(int fd);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_NET_TCP_LISTENER_H_
