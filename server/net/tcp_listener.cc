#include "server/net/tcp_listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

// The kernel lowers it to net.core.somaxconn.
constexpr int kBacklog = 4096;
constexpr int kPortTries = 16;

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;

  in_port_t& port() {
    return bytes.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bytes).sin6_port
                                       : reinterpret_cast<sockaddr_in&>(bytes).sin_port;
  }
};

std::string WithoutBrackets(std::string host) {
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    return host.substr(1, host.size() - 2);
  return host;
}

bool IsEveryAddress(const std::string& host) {
  return host.empty() || host == "*" || host == "0.0.0.0" || host == "::";
}

// ALREADY_EXISTS where somebody else has the address.
absl::Status Reason() {
  return errno == EADDRINUSE ? absl::AlreadyExistsError(std::strerror(errno))
                             : absl::UnavailableError(std::strerror(errno));
}

absl::StatusOr<std::vector<Address>> Resolve(const std::string& host, const std::string& service) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  const std::unique_ptr<addrinfo, FreeAddresses> owned(found);
  std::vector<Address> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Address& address = addresses.emplace_back();
    std::memcpy(&address.bytes, each->ai_addr, each->ai_addrlen);
    address.size = each->ai_addrlen;
  }
  return addresses;
}

absl::StatusOr<FileDescriptor> ListenAt(const Address& address, bool ipv6_alone) {
  FileDescriptor fd(socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return Reason();
  const int on = 1;
  const int alone = ipv6_alone ? 1 : 0;
  // A restarted server gets its port back at once; one that another process listens on stays
  // refused.
  if (setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) return Reason();
  if (address.bytes.ss_family == AF_INET6 &&
      setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &alone, sizeof(alone)) != 0) {
    return Reason();
  }
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.size) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return Reason();
  }
  return fd;
}

// One socket for both families where there is IPv6.
absl::StatusOr<TcpListener> ListenEverywhere(const std::string& service) {
  absl::Status status;
  for (const char* host : {"::", "0.0.0.0"}) {
    const auto addresses = Resolve(host, service);
    if (!addresses.ok()) return addresses.status();
    auto fd = ListenAt(addresses->front(), /*ipv6_alone=*/false);
    status = fd.status();
    if (absl::IsAlreadyExists(status)) break;
    if (!fd.ok()) continue;
    TcpListener listener;
    listener.port = LocalPort(fd->get());
    if (listener.port == 0) return Reason();
    listener.sockets.push_back(*std::move(fd));
    return listener;
  }
  return status;
}

// The first address chooses the port if it is free to.
absl::StatusOr<TcpListener> ListenAtAll(std::vector<Address> addresses) {
  TcpListener listener;
  absl::Status reason = absl::UnavailableError("the host has no address");
  for (Address& address : addresses) {
    if (listener.port != 0) address.port() = htons(static_cast<in_port_t>(listener.port));
    auto fd = ListenAt(address, /*ipv6_alone=*/true);
    if (absl::IsAlreadyExists(fd.status())) return fd.status();
    // Such as an IPv6 address of a name on a machine without IPv6.
    if (!fd.ok()) {
      reason = fd.status();
      continue;
    }
    listener.port = LocalPort(fd->get());
    if (listener.port == 0) return Reason();
    listener.sockets.push_back(*std::move(fd));
  }
  if (listener.sockets.empty()) return reason;
  return listener;
}

}  // namespace

absl::StatusOr<TcpListener> Listen(const std::string& host_port) {
  const std::size_t colon = host_port.rfind(':');
  if (colon == std::string::npos) {
    return absl::UnavailableError(absl::StrCat("\"", host_port, "\" is not host:port"));
  }
  const std::string host = WithoutBrackets(host_port.substr(0, colon));
  const std::string service = host_port.substr(colon + 1);
  absl::StatusOr<TcpListener> listener;
  if (IsEveryAddress(host)) {
    listener = ListenEverywhere(service);
  } else {
    auto addresses = Resolve(host, service);
    // A machine without a file of hosts has this one all the same (RFC 6761, 6.3).
    if (!addresses.ok() && host == "localhost") addresses = Resolve("127.0.0.1", service);
    if (!addresses.ok()) return addresses.status();
    listener = ListenAtAll(*addresses);
    // A port that is free at the first address need not be so at the others.
    for (int i = 1; i < kPortTries && service == "0" && absl::IsAlreadyExists(listener.status());
         ++i) {
      listener = ListenAtAll(*addresses);
    }
  }
  if (absl::IsAlreadyExists(listener.status()))
    return absl::UnavailableError(listener.status().message());
  return listener;
}

int LocalPort(int fd) {
  Address address;
  address.size = sizeof(address.bytes);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.bytes), &address.size) != 0) return 0;
  const auto family = address.bytes.ss_family;
  return family == AF_INET || family == AF_INET6 ? ntohs(address.port()) : 0;
}

}  // namespace lockstep::server
