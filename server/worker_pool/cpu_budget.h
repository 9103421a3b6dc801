// How many cores this process may use, and which.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_CPU_BUDGET_H_
#define LOCKSTEP_SERVER_WORKER_POOL_CPU_BUDGET_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep::server {

// The cores that this process may run on.
std::vector<int> AllowedCores();

// Cores' worth of time: the number of AllowedCores, or fewer where the container's CPU quota is
// smaller. At least 1.
int NumAvailableCores();

// Whole cores that a cgroup-v2 `cpu.max` ("150000 100000", "max 100000") grants, rounded up; 0: no
// limit.
int CoresOfQuota(absl::string_view cpu_max);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_CPU_BUDGET_H_
