#include "server/app/unsent_bytes.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/numbers.h"
#include "server/net/tcp_listener.h"

namespace lockstep::server {
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
