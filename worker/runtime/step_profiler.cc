#include "worker/runtime/step_profiler.h"

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "worker/runtime/catch_exceptions.h"

namespace lockstep::worker {

StepProfiler::StepProfiler(const WorkerConfig& config, int rank, ComputeDevice& device)
    : config_(config),
      rank_(rank),
      device_(device),
      next_(config.profile_dir.empty() ? config.profiles.size() : 0) {}

std::string StepProfiler::Path() const {
  return absl::StrCat(config_.profile_dir, "/rank-", rank_, "-step-", config_.profiles[next_].first,
                      ".json");
}

void StepProfiler::BeforeStep(uint64_t step) {
  if (next_ == config_.profiles.size()) return;
  const absl::Status status = CatchExceptions("", [&] { return Advance(step); });
  if (status.ok()) return;
  std::fprintf(stderr, "rank %d: no more profiles: %s\n", rank_,
               std::string(status.message()).c_str());
  next_ = config_.profiles.size();
}

absl::Status StepProfiler::Advance(uint64_t step) {
  const StepRange& range = config_.profiles[next_];
  if (!is_running_) {
    if (step < range.first || step >= range.first + range.count) return absl::OkStatus();
    // Before a profile that could not be written is begun, and grows.
    std::error_code error;
    std::filesystem::create_directories(config_.profile_dir, error);
    if (error) {
      return absl::UnavailableError(
          absl::StrCat("cannot create ", config_.profile_dir, ": ", error.message()));
    }
    is_running_ = true;
    return device_.StartProfile();
  }
  if (step < range.first + range.count) return absl::OkStatus();
  is_running_ = false;
  absl::Status status = device_.StopProfile(Path());
  ++next_;
  return status;
}

}  // namespace lockstep::worker
