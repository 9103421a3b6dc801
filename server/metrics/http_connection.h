// One connection of the operators' HTTP port, from its request to its answer.
#ifndef LOCKSTEP_SERVER_METRICS_HTTP_CONNECTION_H_
#define LOCKSTEP_SERVER_METRICS_HTTP_CONNECTION_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "server/net/file_descriptor.h"

namespace lockstep::server {

inline constexpr char kPlainText[] = "text/plain; charset=utf-8";

struct HttpAnswer {
  int status = 200;
  std::string content_type;
  std::string body;
};

// Reads one GET or HEAD, writes one answer, and is done. Never blocks: the owner calls Advance
// whenever the socket is readable (or writable, when wants_to_write). Not thread-safe.
class HttpConnection {
 public:
  // From a path without its query to an answer.
  using Handler = std::function<HttpAnswer(std::string_view path)>;

  // Gives up at `deadline`, whoever is slow.
  HttpConnection(FileDescriptor socket, absl::Time deadline)
      : socket_(std::move(socket)), deadline_(deadline) {}

  void Advance(const Handler& handler);

  int socket() const { return socket_.get(); }
  absl::Time deadline() const { return deadline_; }
  bool wants_to_write() const { return !output_.empty(); }
  bool done() const { return done_; }

 private:
  void Read(const Handler& handler);
  void Write();

  FileDescriptor socket_;
  absl::Time deadline_;
  std::string input_;
  std::string output_;
  std::size_t num_written_ = 0;
  bool done_ = false;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_METRICS_HTTP_CONNECTION_H_
