#ifndef LOCKSTEP_TESTS_TESTING_RECORDING_DEVICE_H_
#define LOCKSTEP_TESTS_TESTING_RECORDING_DEVICE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "worker/device/cpu_device.h"
#include "worker/device/graph_recorder.h"

namespace lockstep::testing {

struct GraphCounts {
  std::atomic<int> num_recorded = 0;
  std::atomic<int> num_replayed = 0;
};

// A graph is the work itself, carried out again on the memory that it was recorded on.
class FakeGraphRecorder : public worker::GraphRecorder {
 public:
  // `counts` outlives the recorder and its graphs.
  explicit FakeGraphRecorder(GraphCounts& counts) : counts_(counts) {}

  absl::StatusOr<std::unique_ptr<worker::RecordedGraph>> Record(
      const std::function<absl::Status()>& work) override {
    if (absl::Status status = work(); !status.ok()) return status;
    ++counts_.num_recorded;
    return std::make_unique<Graph>(work, counts_);
  }

 private:
  class Graph : public worker::RecordedGraph {
   public:
    Graph(std::function<absl::Status()> work, GraphCounts& counts)
        : work_(std::move(work)), counts_(counts) {}
    void Replay() override {
      ++counts_.num_replayed;
      work_().IgnoreError();  // as a GPU, which says so when it is waited for
    }

   private:
    const std::function<absl::Status()> work_;
    GraphCounts& counts_;
  };

  GraphCounts& counts_;
};

// The CPU as a device that records.
class RecordingDevice : public worker::CpuDevice {
 public:
  explicit RecordingDevice(GraphCounts& counts) : recorder_(counts) {}
  worker::GraphRecorder* graph_recorder() override { return &recorder_; }

 private:
  FakeGraphRecorder recorder_;
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_RECORDING_DEVICE_H_
