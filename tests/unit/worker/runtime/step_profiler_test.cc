#include "worker/runtime/step_profiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/device/cpu_device.h"

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;

// Writes down what is asked of it.
class ProfiledDevice : public CpuDevice {
 public:
  absl::Status StartProfile() override {
    calls.push_back("start");
    return can_start ? absl::OkStatus() : absl::InternalError("no tracing library");
  }
  absl::Status StopProfile(const std::string& path) override {
    calls.push_back(std::filesystem::path(path).filename().string());
    return absl::OkStatus();
  }

  bool can_start = true;
  std::vector<std::string> calls;
};

class StepProfilerTest : public ::testing::Test {
 protected:
  StepProfilerTest() {
    config_.profile_dir =
        absl::StrCat(::testing::TempDir(), "/step_profiler_test_", getpid(), "/profiles");
  }
  ~StepProfilerTest() override {
    std::error_code error;
    std::filesystem::remove_all(std::filesystem::path(config_.profile_dir).parent_path(), error);
  }

  // What the device was asked before each of the steps [1, last], in order.
  std::vector<std::string> Run(uint64_t last) {
    StepProfiler profiler(config_, /*rank=*/3, device_);
    for (uint64_t step = 1; step <= last; ++step) {
      device_.calls.push_back(absl::StrCat(step));
      profiler.BeforeStep(step);
    }
    return device_.calls;
  }

  WorkerConfig config_;
  ProfiledDevice device_;
};

TEST_F(StepProfilerTest, EachRangeIsAFileThatIsWrittenBeforeTheStepBehindIt) {
  config_.profiles = {{.first = 2, .count = 1}, {.first = 5, .count = 2}};
  EXPECT_THAT(Run(8), ElementsAre("1", "2", "start", "3", "rank-3-step-2.json", "4", "5", "start",
                                  "6", "7", "rank-3-step-5.json", "8"));
  EXPECT_TRUE(std::filesystem::is_directory(config_.profile_dir));
}

TEST_F(StepProfilerTest, WithoutADirectoryNothingIsAskedOfTheDevice) {
  config_.profile_dir.clear();
  config_.profiles = {{.first = 1, .count = 1}};
  EXPECT_THAT(Run(2), ElementsAre("1", "2"));
}

TEST_F(StepProfilerTest, ADeviceThatCannotIsNotAskedAgain) {
  config_.profiles = {{.first = 1, .count = 1}, {.first = 3, .count = 1}};
  device_.can_start = false;
  EXPECT_THAT(Run(4), ElementsAre("1", "start", "2", "3", "4"));
}

TEST_F(StepProfilerTest, ADirectoryThatCannotBeMadeEndsTheProfilesAndNotTheSteps) {
  config_.profile_dir = "/proc/no/such/place";
  config_.profiles = {{.first = 1, .count = 1}, {.first = 4, .count = 1}};
  EXPECT_THAT(Run(5), ElementsAre("1", "2", "3", "4", "5"));
}

}  // namespace
}  // namespace lockstep::worker
