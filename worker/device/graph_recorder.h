#ifndef LOCKSTEP_WORKER_DEVICE_GRAPH_RECORDER_H_
#define LOCKSTEP_WORKER_DEVICE_GRAPH_RECORDER_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep::worker {

// A sequence of a device's operations that is started as one.
class RecordedGraph {
 public:
  virtual ~RecordedGraph() = default;

  // Starts the recorded operations on the device's stream, on the memory that they were recorded
  // on, and returns without waiting for them. Throws c10::Error when the device refuses.
  virtual void Replay() = 0;
};

// Records what is enqueued on a device's stream instead of running it. Starting hundreds of small
// kernels one by one takes the host longer than a GPU takes to run them.
//
// From the thread whose current stream is the device's own, one recording at a time. Recorded
// graphs share their scratch memory, so they are to be replayed one after another; and they must be
// gone before the recorder and before what they use, a communicator included.
class GraphRecorder {
 public:
  virtual ~GraphRecorder() = default;

  // Calls `work` once and records what it enqueues. `work` must not wait for the device, copy to or
  // from pageable host memory, or depend on values in device memory; what it refers to lives as
  // long as the graph. Its error is returned; throws c10::Error when something in it cannot be
  // recorded.
  virtual absl::StatusOr<std::unique_ptr<RecordedGraph>> Record(
      const std::function<absl::Status()>& work) = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_GRAPH_RECORDER_H_
