#ifndef LOCKSTEP_WORKER_RUNTIME_DEVICE_WAIT_H_
#define LOCKSTEP_WORKER_RUNTIME_DEVICE_WAIT_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/comm/communicator.h"
#include "worker/device/compute_device.h"

namespace lockstep::worker {

// Returns when the device has done all that was enqueued. The communicator waits first: what other
// ranks have a part in may never be done, and only it has a deadline.
absl::Status WaitForDevice(Communicator& communicator, ComputeDevice& device);

// Returns when the device has reached `mark`. Errors are the communicator's and the device's;
// DEADLINE_EXCEEDED after `timeout`.
absl::Status WaitForMark(StreamMark& mark, Communicator& communicator, ComputeDevice& device,
                         absl::Duration timeout);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_DEVICE_WAIT_H_
