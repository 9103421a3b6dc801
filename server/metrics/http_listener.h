// A socket that takes connections.
#ifndef LOCKSTEP_SERVER_METRICS_HTTP_LISTENER_H_
#define LOCKSTEP_SERVER_METRICS_HTTP_LISTENER_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/worker_pool/file_descriptor.h"

namespace lockstep::server {

struct HttpListener {
  FileDescriptor socket;  // non-blocking
  int port = 0;
};

// `host_port` is host:port, an IPv6 host in brackets, an empty host or "*" meaning every address;
// port 0 means any free one. UNAVAILABLE with the system's reason if it cannot be listened on.
absl::StatusOr<HttpListener> Listen(const std::string& host_port);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_METRICS_HTTP_LISTENER_H_
