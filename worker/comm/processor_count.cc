#include "worker/comm/processor_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace lockstep::worker {
namespace {

// cgroup v2: "QUOTA PERIOD" in microseconds, or "max PERIOD".
double CpuQuota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0.0;
  double period = 0.0;
  return file >> quota >> period && period > 0.0 ? quota / period : INFINITY;
}

}  // namespace

int NumUsableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int num = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  return static_cast<int>(std::max(1.0, std::min<double>(num, std::floor(CpuQuota()))));
}

}  // namespace lockstep::worker
