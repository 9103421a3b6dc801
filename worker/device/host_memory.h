#ifndef LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_
#define LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_

#include <filesystem>
#include <vector>

#include "worker/device/compute_device.h"

namespace lockstep::worker {

// The machine's memory and what this process could still take of it: what the kernel calls
// available. Both cut by the limits of the control groups that it is in.
DeviceMemory HostMemory();

// What these control groups, of either version, allow at most, and what is left of it, pages of
// files included: of each the smallest. All there is where none sets a limit.
DeviceMemory ControlGroupMemory(const std::vector<std::filesystem::path>& groups);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_
