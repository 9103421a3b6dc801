#ifndef LOCKSTEP_TESTS_TESTING_AHEAD_DEVICE_H_
#define LOCKSTEP_TESTS_TESTING_AHEAD_DEVICE_H_

#include "tests/testing/recording_device.h"

namespace lockstep::testing {

// The CPU as a device that claims to compute beside the host, so that steps are handed to it whole:
// with the GPU's kernels in emulation, which the test links.
class AheadDevice : public RecordingDevice {
 public:
  using RecordingDevice::RecordingDevice;
  bool computes_beside_host() const override { return true; }
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_AHEAD_DEVICE_H_
