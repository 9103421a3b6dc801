#include "server/app/load_progress.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/app/server_log.h"

namespace lockstep::server {
namespace {

constexpr int kBarWidth = 20;
constexpr absl::Duration kTerminalInterval = absl::Milliseconds(100);
constexpr absl::Duration kLogInterval = absl::Seconds(5);
// Between looks for the log: what was seen early makes the first line's rate.
constexpr absl::Duration kLookInterval = absl::Milliseconds(500);

}  // namespace

std::string LoadProgress::Describe(const std::vector<v1::RankInfo>& ranks, absl::Time now) {
  double loaded = 0.0;
  double total = 0.0;
  double share = 1.0;
  for (const v1::RankInfo& rank : ranks) {
    if (rank.bytes_total() == 0) return "";
    loaded += static_cast<double>(rank.bytes_loaded());
    total += static_cast<double>(rank.bytes_total());
    share = std::min(
        share, static_cast<double>(rank.bytes_loaded()) / static_cast<double>(rank.bytes_total()));
  }
  if (ranks.empty() || share >= 1.0) return "";
  const int filled = static_cast<int>(share * kBarWidth);
  std::string text =
      absl::StrFormat("[%s%s] %3.0f %%, %.1f of %.1f GB", std::string(filled, '#'),
                      std::string(kBarWidth - filled, '-'), share * 100, loaded / 1e9, total / 1e9);
  if (begin_ == absl::InfinitePast()) {
    begin_ = now;
    first_share_ = share;
  }
  const double seconds = absl::ToDoubleSeconds(now - begin_);
  const double gained = share - first_share_;
  if (seconds < 0.5 || gained <= 0.0) return text;
  absl::StrAppendFormat(&text, ", %.1f GB/s, %.0f s left", gained * total / seconds / 1e9,
                        std::ceil((1.0 - share) * seconds / gained));
  return text;
}

std::string LoadProgress::DescribeEvery(absl::Duration interval,
                                        const std::vector<v1::RankInfo>& ranks, absl::Time now) {
  std::string text = Describe(ranks, now);
  if (text.empty()) return "";
  if (next_ == absl::InfinitePast()) next_ = now + interval;
  if (now < next_) return "";
  next_ = now + interval;
  return text;
}

LoadProgressDisplay::LoadProgressDisplay() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

absl::Duration LoadProgressDisplay::interval() const {
  return is_terminal_ ? kTerminalInterval : kLookInterval;
}

void LoadProgressDisplay::Show(const std::vector<v1::RankInfo>& ranks) {
  if (!is_terminal_) {
    const std::string line = progress_.DescribeEvery(kLogInterval, ranks, absl::Now());
    if (!line.empty()) spdlog::info("loading {}", line);
    return;
  }
  const std::string text = progress_.Describe(ranks, absl::Now());
  if (text.empty()) return Finish();
  // Not while the terminal's output is stopped: the thread that waits for signals is this one.
  if (!TakesOutput(STDERR_FILENO, absl::ZeroDuration())) return;
  std::fprintf(stderr, "\r\033[Kloading %s", text.c_str());
  has_line_ = true;
}

void LoadProgressDisplay::Finish() {
  if (has_line_ && TakesOutput(STDERR_FILENO, absl::ZeroDuration())) std::fputs("\r\033[K", stderr);
  has_line_ = false;
}

}  // namespace lockstep::server
