#ifndef LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_
#define LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_

#include "worker/device/compute_device.h"

namespace lockstep::worker {

// The machine's memory and what this process could still take of it: what the kernel calls
// available. Both cut by the control group's limit where there is one.
DeviceMemory HostMemory();

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_HOST_MEMORY_H_
