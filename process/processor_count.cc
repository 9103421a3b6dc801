#include "process/processor_count.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace lockstep {
namespace {

// Of the cgroup that this process sees as the root, as containers do.
int ContainerQuota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string line;
  return std::getline(file, line) ? ProcessorsOfQuota(line) : 0;
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
  const int quota = ContainerQuota();
  return quota == 0 ? allowed : std::min(allowed, quota);
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
