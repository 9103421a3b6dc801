#include "process/processor_count.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "process/control_group.h"

namespace lockstep {
namespace {

std::string FirstLine(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// As a `cpu.max` has it; version 1 has two files for it, and -1 for no limit.
std::string QuotaOf(const std::filesystem::path& group) {
  const std::string quota = FirstLine(group / "cpu.max");
  if (!quota.empty()) return quota;
  return absl::StrCat(FirstLine(group / "cpu.cfs_quota_us"), " ",
                      FirstLine(group / "cpu.cfs_period_us"));
}

}  // namespace

std::vector<int> AllowedProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> processors;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return processors;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &set)) processors.push_back(processor);
  }
  return processors;
}

int NumUsableProcessors() {
  const int allowed = std::max(1, static_cast<int>(AllowedProcessors().size()));
  const int quota = ProcessorsOfGroups(ControlGroups("cpu"));
  return quota == 0 ? allowed : std::min(allowed, quota);
}

int ProcessorsOfGroups(const std::vector<std::filesystem::path>& groups) {
  int fewest = 0;
  for (const std::filesystem::path& group : groups) {
    const int processors = ProcessorsOfQuota(QuotaOf(group));
    if (processors != 0 && (fewest == 0 || processors < fewest)) fewest = processors;
  }
  return fewest;
}

int ProcessorsOfQuota(absl::string_view cpu_max) {
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::StripAsciiWhitespace(cpu_max), ' ');
  double quota = 0;
  double period = 0;
  if (fields.size() != 2 || !absl::SimpleAtod(fields[0], &quota) ||
      !absl::SimpleAtod(fields[1], &period) || quota <= 0 || period <= 0) {
    return 0;
  }
  return static_cast<int>(std::clamp(quota / period, 1.0, double{CPU_SETSIZE}));
}

}  // namespace lockstep
