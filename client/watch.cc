#include "client/watch.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <iostream>
#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "client/error_report.h"

namespace lockstep::client {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBarWidth = 30;
// Of one look, where --timeout gives none.
constexpr std::chrono::duration<double> kCallLimit(5);

double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

std::string Bar(double share) {
  const int filled = std::clamp(static_cast<int>(share * kBarWidth + 0.5), 0, kBarWidth);
  return absl::StrCat("[", std::string(static_cast<size_t>(filled), '#'),
                      std::string(static_cast<size_t>(kBarWidth - filled), '.'), "]");
}

// Growth of a counter since the look before, per second.
template <typename Counter>
double Rate(const WatchFrame& frame, Counter counter) {
  if (!frame.before.has_value() || frame.seconds <= 0) return 0;
  const uint64_t now = counter(frame.info), then = counter(*frame.before);
  return now > then ? static_cast<double>(now - then) / frame.seconds : 0;
}

double GeneratedPerSecond(const WatchFrame& frame) {
  return Rate(frame, [](const auto& info) { return info.generated_tokens(); });
}

double PromptPerSecond(const WatchFrame& frame) {
  return Rate(frame, [](const auto& info) { return info.prompt_tokens(); });
}

// Of the prompt tokens looked for since the look before; since the start at the first.
double HitRate(const WatchFrame& frame) {
  const uint64_t hits = frame.before ? frame.before->prefix_cache_hits() : 0;
  const uint64_t queries = frame.before ? frame.before->prefix_cache_queries() : 0;
  return Share(static_cast<double>(frame.info.prefix_cache_hits() - hits),
               static_cast<double>(frame.info.prefix_cache_queries() - queries));
}

double KvUse(const v1::GetServerInfoResponse& info) {
  return Share(static_cast<double>(info.kv_blocks_used()),
               static_cast<double>(info.kv_blocks_total()));
}

std::string DescribeRank(const v1::RankInfo& rank) {
  std::string line = absl::StrFormat(
      "rank %-3u  %-9s %s, step %d, %.1f s ago", rank.rank(), StateName(rank.state()),
      rank.device(), rank.last_step(),
      static_cast<double>(rank.step_age().seconds()) + rank.step_age().nanos() * 1e-9);
  if (rank.state() == v1::POOL_STATE_LOADING) {
    const double loaded =
        Share(static_cast<double>(rank.bytes_loaded()), static_cast<double>(rank.bytes_total()));
    absl::StrAppendFormat(&line, "  %s %3.0f %%", Bar(loaded), 100 * loaded);
  }
  return line;
}

// Ctrl-C as something to wait for, and what ends a call that it comes into.
class Stop {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    set_ = true;
    if (call_ != nullptr) call_->TryCancel();
    changed_.notify_all();
  }
  // The call that is under way, or null.
  void SetCall(grpc::ClientContext* call) {
    const std::lock_guard lock(mutex_);
    call_ = call;
    if (set_ && call != nullptr) call->TryCancel();
  }
  // True if it was set within the time.
  bool WaitFor(std::chrono::duration<double> time) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
  grpc::ClientContext* call_ = nullptr;
};

// Replaces what was shown before, without a flash of an empty screen.
void Show(const std::string& text, bool in_place) {
  if (!in_place) {
    std::cout << text << std::endl;
    return;
  }
  std::string screen = "\x1b[H";
  for (char c : text) {
    if (c == '\n') screen += "\x1b[K";
    screen += c;
  }
  std::cout << screen << "\x1b[J" << std::flush;
}

}  // namespace

std::string StateName(v1::PoolState state) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::PoolState_Name(state), "POOL_STATE_"));
}

std::string DrawFrame(const WatchFrame& frame) {
  const v1::GetServerInfoResponse& info = frame.info;
  std::string text =
      absl::StrFormat("lockstep %s  %s  %s, up %d s\n\n", info.version(), info.model(),
                      StateName(info.state()), info.uptime().seconds());
  absl::StrAppendFormat(&text, "requests  %u running, %u waiting (%d tokens), %d preemptions\n",
                        info.num_running(), info.num_waiting(), info.num_waiting_tokens(),
                        info.preemptions());
  absl::StrAppendFormat(&text, "tokens/s  %.1f generated, %.1f of prompts\n",
                        GeneratedPerSecond(frame), PromptPerSecond(frame));
  absl::StrAppendFormat(&text, "kv cache  %s %5.1f %% of %d blocks\n", Bar(KvUse(info)),
                        100 * KvUse(info), info.kv_blocks_total());
  absl::StrAppendFormat(&text, "prefixes  %s %5.1f %% of prompt tokens found\n\n",
                        Bar(HitRate(frame)), 100 * HitRate(frame));
  for (const v1::RankInfo& rank : info.ranks()) absl::StrAppend(&text, DescribeRank(rank), "\n");
  return text;
}

std::string DescribeFrame(const WatchFrame& frame) {
  const v1::GetServerInfoResponse& info = frame.info;
  return absl::StrFormat(
      "%s: %u running, %u waiting, %.1f tokens/s generated, %.1f of prompts, KV cache %.1f %%, "
      "prefixes found %.1f %%",
      StateName(info.state()), info.num_running(), info.num_waiting(), GeneratedPerSecond(frame),
      PromptPerSecond(frame), 100 * KvUse(info), 100 * HitRate(frame));
}

int Watch(CommandContext& context, Connection& connection, double interval) {
  Stop stop;
  const ScopedInterrupt interrupt(context.interrupts, [&stop](int) { stop.Set(); });
  const bool in_place = !context.json && isatty(STDOUT_FILENO) != 0;
  if (in_place) std::cout << "\x1b[2J";
  const auto limit = std::chrono::duration_cast<std::chrono::microseconds>(
      context.timeout > 0 ? std::chrono::duration<double>(context.timeout) : kCallLimit);
  std::optional<v1::GetServerInfoResponse> before;
  Clock::time_point last = Clock::now();
  do {
    grpc::ClientContext call;
    call.set_deadline(std::chrono::system_clock::now() + limit);
    WatchFrame frame;
    stop.SetCall(&call);
    const grpc::Status status = connection.admin().GetServerInfo(&call, {}, &frame.info);
    stop.SetCall(nullptr);
    if (stop.WaitFor(std::chrono::seconds(0))) break;
    const Clock::time_point now = Clock::now();
    if (!status.ok()) {
      before.reset();
      Show(context.json ? DescribeErrorAsJson(status)
                        : absl::StrCat("unreachable (", StatusCodeName(status.error_code()),
                                       "), retrying ", context.target, in_place ? "\n" : ""),
           in_place);
      continue;
    }
    // Counters that shrank are those of another process.
    if (before.has_value() && before->steps() <= frame.info.steps()) frame.before = before;
    frame.seconds = std::chrono::duration<double>(now - last).count();
    before = frame.info;
    last = now;
    Show(context.json ? ToJson(frame.info)
         : in_place   ? DrawFrame(frame)
                      : DescribeFrame(frame),
         in_place);
    // Nobody sees it where stdout cannot be written any more.
  } while (std::cout && !stop.WaitFor(std::chrono::duration<double>(interval)));
  return kExitOk;
}

}  // namespace lockstep::client
