// The operators' HTTP port: /metrics and /healthz.
#ifndef LOCKSTEP_SERVER_METRICS_METRICS_SERVER_H_
#define LOCKSTEP_SERVER_METRICS_METRICS_SERVER_H_

#include <prometheus/collectable.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/metrics/http_connection.h"
#include "server/net/tcp_listener.h"

namespace lockstep::server {

// Answers on a thread of its own until destroyed. One request per connection, a bounded number of
// connections, a deadline for each: nobody can keep the port from the others for long.
class MetricsServer {
 public:
  struct Content {
    // Borrowed: outlive the server.
    std::vector<const prometheus::Collectable*> collectables;
    // Decides /healthz: 200 or 503. Called from the server's thread.
    std::function<bool()> is_serving;
  };

  // `listen` is host:port; port 0 means any free one. UNAVAILABLE, with address and reason, if it
  // cannot be listened on.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen,
                                                              Content content);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // host:port, with the port that was chosen.
  const std::string& address() const { return address_; }

 private:
  MetricsServer(Content content, TcpListener listener, FileDescriptor stop, std::string address);

  void Run();
  // Waits for the next event. False: the server is to stop.
  bool Wait(std::vector<short>& events);
  // In a full house the connection that has waited longest without a request gives way to a new
  // one, so that connections which say nothing cannot keep out those that ask.
  void Accept(const FileDescriptor& listening);
  bool HasRoom();
  std::vector<HttpConnection>::iterator LongestSilent();
  HttpAnswer Answer(std::string_view path) const;

  const Content content_;
  const TcpListener listener_;
  const FileDescriptor stop_;  // an eventfd, written once
  const std::string address_;
  // The thread's own.
  std::vector<HttpConnection> connections_;  // the oldest first
  absl::Time accept_after_ = absl::InfinitePast();
  std::thread thread_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_METRICS_METRICS_SERVER_H_
