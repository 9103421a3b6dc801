#include "server/metrics/metrics_server.h"

#include <poll.h>
#include <prometheus/text_serializer.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"

namespace lockstep::server {
namespace {

constexpr std::size_t kMaxConnections = 64;
constexpr absl::Duration kConnectionTime = absl::Seconds(10);
// After accept() failed for want of file descriptors: nobody is told when there are some again.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    Content content) {
  auto listener = Listen(listen);
  if (!listener.ok()) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen, " for metrics: ", listener.status().message(),
                     "; choose another address with --metrics-listen (port 0: any free one)"));
  }
  FileDescriptor stop(eventfd(0, EFD_CLOEXEC));
  if (!stop.is_open())
    return absl::UnavailableError(absl::StrCat("eventfd: ", std::strerror(errno)));
  std::string address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", listener->port);
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(content), *std::move(listener),
                                                          std::move(stop), std::move(address)));
}

MetricsServer::MetricsServer(Content content, TcpListener listener, FileDescriptor stop,
                             std::string address)
    : content_(std::move(content)),
      listener_(std::move(listener)),
      stop_(std::move(stop)),
      address_(std::move(address)),
      thread_([this] { Run(); }) {}

MetricsServer::~MetricsServer() {
  // Cannot fail: the counter is far from its limit.
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void MetricsServer::Run() {
  const HttpConnection::Handler handler = [this](std::string_view path) { return Answer(path); };
  std::vector<short> events;
  while (Wait(events)) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (events[i] != 0) connections_[i].Advance(handler);
    }
    const absl::Time now = MonotonicNow();
    std::erase_if(connections_, [now](const auto& connection) {
      return connection.done() || connection.deadline() < now;
    });
    for (const FileDescriptor& socket : listener_.sockets) Accept(socket);
  }
}

bool MetricsServer::Wait(std::vector<short>& events) {
  std::vector<pollfd> polled;
  const absl::Time now = MonotonicNow();
  const bool accept = now >= accept_after_ && HasRoom();
  absl::Time wake = now < accept_after_ ? accept_after_ : absl::InfiniteFuture();
  for (const auto& connection : connections_) {
    polled.push_back({connection.socket(),
                      static_cast<short>(connection.wants_to_write() ? POLLOUT : POLLIN), 0});
    wake = std::min(wake, connection.deadline());
  }
  polled.push_back({stop_.get(), POLLIN, 0});
  // Newcomers wait in the backlog while nobody could give way.
  for (const FileDescriptor& socket : listener_.sockets) {
    if (accept) polled.push_back({socket.get(), POLLIN, 0});
  }
  const int64_t timeout = wake == absl::InfiniteFuture()
                              ? -1
                              : std::max<int64_t>(0, absl::ToInt64Milliseconds(wake - now) + 1);
  poll(polled.data(), polled.size(), static_cast<int>(timeout));
  events.clear();
  for (const auto& entry : polled) events.push_back(entry.revents);
  return polled[connections_.size()].revents == 0;
}

std::vector<HttpConnection>::iterator MetricsServer::LongestSilent() {
  return std::find_if(connections_.begin(), connections_.end(),
                      [](const auto& connection) { return !connection.wants_to_write(); });
}

bool MetricsServer::HasRoom() {
  return connections_.size() < kMaxConnections || LongestSilent() != connections_.end();
}

void MetricsServer::Accept(const FileDescriptor& listening) {
  while (HasRoom()) {
    FileDescriptor socket(accept4(listening.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket.is_open()) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) accept_after_ = MonotonicNow() + kAcceptPause;
      return;
    }
    if (connections_.size() == kMaxConnections) connections_.erase(LongestSilent());
    connections_.emplace_back(std::move(socket), MonotonicNow() + kConnectionTime);
  }
}

HttpAnswer MetricsServer::Answer(std::string_view path) const {
  if (path == "/healthz") {
    return content_.is_serving() ? HttpAnswer{200, kPlainText, "SERVING\n"}
                                 : HttpAnswer{503, kPlainText, "NOT_SERVING\n"};
  }
  if (path != "/metrics") return {404, kPlainText, "here are /metrics and /healthz\n"};
  std::vector<prometheus::MetricFamily> families;
  for (const auto* collectable : content_.collectables) {
    auto more = collectable->Collect();
    families.insert(families.end(), std::make_move_iterator(more.begin()),
                    std::make_move_iterator(more.end()));
  }
  return {200, "text/plain; version=0.0.4; charset=utf-8",
          prometheus::TextSerializer().Serialize(families)};
}

}  // namespace lockstep::server
