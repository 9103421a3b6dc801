#include "server/worker_pool/output_tag.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

// A pipe that is ready for writing takes this much without blocking.
constexpr size_t kMaxLine = PIPE_BUF - 32;

void WriteUnlessBlocked(absl::string_view text) {
  pollfd ready = {STDERR_FILENO, POLLOUT, 0};
  if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) return;
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nowhere to report it
}

}  // namespace

OutputTag::OutputTag(uint32_t rank) : prefix_(absl::StrCat("[rank ", rank, "] ")) {}

bool OutputTag::Relay(int fd) {
  char buffer[4096];
  while (true) {
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return true;
    if (size <= 0) {
      Flush();
      return false;
    }
    Take(absl::string_view(buffer, static_cast<size_t>(size)));
  }
}

void OutputTag::Take(absl::string_view text) {
  for (char c : text) {
    if (c != '\n') line_.push_back(c);
    if (c == '\n' || line_.size() >= kMaxLine) Flush();
  }
}

void OutputTag::Flush() {
  if (line_.empty()) return;
  WriteUnlessBlocked(absl::StrCat(prefix_, line_, "\n"));
  last_line_ = std::move(line_);
  line_.clear();
}

}  // namespace lockstep::server
