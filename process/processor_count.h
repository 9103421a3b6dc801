// How many processors this process may use, and which.
#ifndef LOCKSTEP_PROCESS_PROCESSOR_COUNT_H_
#define LOCKSTEP_PROCESS_PROCESSOR_COUNT_H_

#include <filesystem>
#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep {

// The numbers of those that it may run on, ascending: its affinity mask.
std::vector<int> AllowedProcessors();

// As many as AllowedProcessors, or fewer where the CPU quota of a control group grants less time.
// At least 1.
int NumUsableProcessors();

// Whole processors that the smallest quota of these control groups grants, as ProcessorsOfQuota
// counts them; 0: no limit.
int ProcessorsOfGroups(const std::vector<std::filesystem::path>& groups);

// Whole processors that a cgroup-v2 `cpu.max` ("150000 100000", "max 100000") grants; 0: no limit.
// A part of one does not count, but where there is no more: threads that wait for each other would
// all wait for the one that the quota stops, and what is left over serves the threads beside them.
int ProcessorsOfQuota(absl::string_view cpu_max);

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_PROCESSOR_COUNT_H_
