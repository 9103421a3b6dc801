// The control groups (cgroups(7)) whose limits hold for this process.
#ifndef LOCKSTEP_PROCESS_CONTROL_GROUP_H_
#define LOCKSTEP_PROCESS_CONTROL_GROUP_H_

#include <filesystem>
#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep {

// The directories of the process's own group for `controller` ("memory", "cpu") and of the groups
// around it, as far as they can be seen, the own one first: each may set a limit, and the smallest
// holds. They have version 1's files where the controller is mounted as such, else version 2's.
// Empty where there are no control groups. Files and mounts are looked for below `root`.
std::vector<std::filesystem::path> ControlGroups(absl::string_view controller,
                                                 const std::filesystem::path& root = "/");

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_CONTROL_GROUP_H_
