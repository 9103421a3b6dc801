// How many processors this process may use, and which.
#ifndef LOCKSTEP_PROCESS_PROCESSOR_COUNT_H_
#define LOCKSTEP_PROCESS_PROCESSOR_COUNT_H_

#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep {

// The numbers of those that it may run on, ascending: its affinity mask.
std::vector<int> AllowedProcessors();

// As many as AllowedProcessors, or fewer where the control group's CPU quota grants less time. At
// least 1.
int NumUsableProcessors();

// Whole processors that a cgroup-v2 `cpu.max` ("150000 100000", "max 100000") grants; 0: no limit.
// A part of one does not count, but where there is no more: threads that wait for each other would
// all wait for the one that the quota stops, and what is left over serves the threads beside them.
int ProcessorsOfQuota(absl::string_view cpu_max);

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_PROCESSOR_COUNT_H_
