#include "server/metrics/http_connection.h"

#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

constexpr std::size_t kMaxRequestBytes = 16 << 10;

const char* Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Bad Request";
  }
}

std::string Serialize(const HttpAnswer& answer, bool with_body) {
  std::string bytes =
      absl::StrCat("HTTP/1.1 ", answer.status, " ", Reason(answer.status),
                   "\r\nContent-Type: ", answer.content_type,
                   "\r\nContent-Length: ", answer.body.size(), "\r\nConnection: close\r\n\r\n");
  if (with_body) bytes += answer.body;
  return bytes;
}

// The answer to a request whose head is complete.
std::string Answer(std::string_view head, const HttpConnection::Handler& handler) {
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::size_t method_end = line.find(' ');
  const std::size_t target_end = line.rfind(' ');
  if (method_end == std::string_view::npos || target_end <= method_end ||
      line.substr(target_end + 1).substr(0, 5) != "HTTP/") {
    return Serialize({400, kPlainText, "this is not HTTP\n"}, true);
  }
  const std::string_view method = line.substr(0, method_end);
  if (method != "GET" && method != "HEAD")
    return Serialize({405, kPlainText, "only GET and HEAD\n"}, true);
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  return Serialize(handler(target.substr(0, target.find('?'))), method == "GET");
}

bool MayWorkLater(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

void HttpConnection::Advance(const Handler& handler) {
  if (!wants_to_write()) Read(handler);
  if (wants_to_write()) Write();
}

void HttpConnection::Read(const Handler& handler) {
  char buffer[4096];
  const ssize_t size = recv(socket_.get(), buffer, sizeof(buffer), 0);
  if (size <= 0) {
    done_ = size == 0 || !MayWorkLater(errno);
    return;
  }
  input_.append(buffer, static_cast<std::size_t>(size));
  if (input_.find("\r\n\r\n") != std::string::npos) {
    output_ = Answer(input_, handler);
  } else if (input_.size() > kMaxRequestBytes) {
    output_ = Serialize({400, kPlainText, "the request's head is too long\n"}, true);
  }
}

void HttpConnection::Write() {
  const ssize_t size = send(socket_.get(), output_.data() + num_written_,
                            output_.size() - num_written_, MSG_NOSIGNAL);
  if (size < 0) {
    done_ = !MayWorkLater(errno);
    return;
  }
  num_written_ += static_cast<std::size_t>(size);
  done_ = num_written_ == output_.size();
}

}  // namespace lockstep::server
