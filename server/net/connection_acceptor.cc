#include "server/net/connection_acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"

namespace lockstep::server {
namespace {

// Nobody is told when there are descriptors again.
constexpr absl::Duration kPause = absl::Milliseconds(100);
constexpr absl::Duration kWarningInterval = absl::Seconds(10);

// What has become of a newcomer, and says nothing of the next one.
bool IsOfConnection(int error) {
  return error == EINTR || error == ECONNABORTED || error == EPROTO || error == EPERM ||
         error == ENETDOWN || error == ENETUNREACH || error == EHOSTDOWN || error == EHOSTUNREACH;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Start(
    TcpListener listener, uint64_t num_reserved, OnConnection on_connection) {
  FileDescriptor stop(eventfd(0, EFD_CLOEXEC));
  if (!stop.is_open())
    return absl::UnavailableError(absl::StrCat("eventfd: ", std::strerror(errno)));
  return std::unique_ptr<ConnectionAcceptor>(new ConnectionAcceptor(
      std::move(listener), num_reserved, std::move(stop), std::move(on_connection)));
}

ConnectionAcceptor::ConnectionAcceptor(TcpListener listener, uint64_t num_reserved,
                                       FileDescriptor stop, OnConnection on_connection)
    : listener_(std::move(listener)),
      num_reserved_(num_reserved),
      stop_(std::move(stop)),
      on_connection_(std::move(on_connection)),
      thread_([this] { Run(); }) {}

ConnectionAcceptor::~ConnectionAcceptor() {
  // Cannot fail: the counter is far from its limit.
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

void ConnectionAcceptor::Run() {
  while (Wait(/*for_newcomers=*/true, absl::InfiniteDuration())) {
    if (AcceptAll()) continue;
    if (!Wait(/*for_newcomers=*/false, kPause)) return;
  }
}

bool ConnectionAcceptor::Wait(bool for_newcomers, absl::Duration timeout) {
  std::vector<pollfd> polled = {{stop_.get(), POLLIN, 0}};
  for (const FileDescriptor& socket : listener_.sockets) {
    if (for_newcomers) polled.push_back({socket.get(), POLLIN, 0});
  }
  const bool is_bounded = timeout < absl::InfiniteDuration();
  poll(polled.data(), polled.size(),
       is_bounded ? static_cast<int>(absl::ToInt64Milliseconds(timeout)) : -1);
  return polled.front().revents == 0;
}

bool ConnectionAcceptor::AcceptAll() {
  for (const FileDescriptor& socket : listener_.sockets) {
    while (true) {
      if (!HasDescriptors()) {
        Warn(EMFILE);
        return false;
      }
      FileDescriptor connection(
          accept4(socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      const int error = errno;
      if (connection.is_open()) {
        const int on = 1;
        setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        on_connection_(std::move(connection));
      } else if (error == EAGAIN || error == EWOULDBLOCK) {
        break;
      } else if (!IsOfConnection(error)) {
        Warn(error);
        return false;
      }
    }
  }
  return true;
}

bool ConnectionAcceptor::HasDescriptors() const {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return true;
  // The kernel gives the lowest number that is free.
  const FileDescriptor lowest(fcntl(stop_.get(), F_DUPFD_CLOEXEC, 0));
  return lowest.is_open() && static_cast<uint64_t>(lowest.get()) + num_reserved_ < limit.rlim_cur;
}

void ConnectionAcceptor::Warn(int error) {
  const absl::Time now = MonotonicNow();
  if (now - last_warning_ < kWarningInterval) return;
  last_warning_ = now;
  spdlog::warn("connections wait, since one cannot be taken: {}", std::strerror(error));
}

}  // namespace lockstep::server
