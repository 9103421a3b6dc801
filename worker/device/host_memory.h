#ifndef LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_
#define LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_

#include <filesystem>

#include "worker/device/compute_device.h"

namespace lockstep::worker {

// The machine's memory and what this process could still take of it: what the kernel calls
// available. Both cut by the control group's limit where there is one.
DeviceMemory HostMemory();

// What the control group (version 2) with these files allows, and what is left of it, pages of
// files included; all there is where it sets no limit.
DeviceMemory ControlGroupMemory(const std::filesystem::path& directory);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_
