#include "server/app/server_log.h"

#include <grpc/support/log.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <future>
#include <memory>
#include <thread>
#include <utility>

namespace lockstep::server {
namespace {

// Lines that may wait to be written.
constexpr size_t kLogQueueLines = 16384;

// gRPC's own lines, which it would write itself and past the level: it is more alarmed by what
// clients do than we are.
void LogForGrpc(gpr_log_func_args* line) {
  const auto level =
      line->severity == GPR_LOG_SEVERITY_ERROR ? spdlog::level::warn : spdlog::level::debug;
  spdlog::log(level, "gRPC: {}", line->message);
}

void LogNothing(gpr_log_func_args*) {}

}  // namespace

void SetUpLog(const std::string& level) {
  spdlog::init_thread_pool(kLogQueueLines, 1, [] {
    // They are for the thread that waits for them: see ProcessEvents.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
  });
  auto logger = std::make_shared<spdlog::async_logger>(
      "lockstep", std::make_shared<spdlog::sinks::stderr_color_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogForGrpc);
}

bool EndLog(absl::Duration patience) {
  gpr_set_log_function(LogNothing);
  auto ended = std::make_shared<std::promise<void>>();
  std::future<void> end = ended->get_future();
  std::thread([ended = std::move(ended)] {
    spdlog::shutdown();
    ended->set_value();
  }).detach();
  return end.wait_for(absl::ToChronoNanoseconds(patience)) == std::future_status::ready;
}

bool TakesOutput(int fd, absl::Duration patience) {
  pollfd output = {fd, POLLOUT, 0};
  return poll(&output, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) == 1;
}

}  // namespace lockstep::server
