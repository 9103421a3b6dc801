#include "server/app/unsent_bytes.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/numbers.h"

namespace lockstep::server {
namespace {

// 0 for what is no TCP socket.
uint16_t LocalPort(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return 0;
}

}  // namespace

int64_t NumUnsentBytes(uint16_t port) {
  int64_t num_bytes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    int fd = -1;
    if (!absl::SimpleAtoi(it->path().filename().string(), &fd) || LocalPort(fd) != port) continue;
    int num_queued = 0;
    // A listening socket has no queue, and says so by an error.
    if (ioctl(fd, SIOCOUTQ, &num_queued) == 0) num_bytes += num_queued;
  }
  return num_bytes;
}

}  // namespace lockstep::server
