#include "worker/device/cuda_graph_recorder.h"

#include <c10/util/Exception.h>

namespace lockstep::worker {
namespace {

class CudaGraph : public RecordedGraph {
 public:
  at::cuda::CUDAGraph& graph() { return graph_; }
  void Replay() override { graph_.replay(); }

 private:
  at::cuda::CUDAGraph graph_;
};

// Takes the stream out of a recording that has failed; what was recorded is of no use.
void EndFailedRecording(at::cuda::CUDAGraph& graph) {
  try {
    graph.capture_end();
  } catch (const c10::Error&) {  // the failure that is being reported already
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<RecordedGraph>> CudaGraphRecorder::Record(
    const std::function<absl::Status()>& work) {
  auto graph = std::make_unique<CudaGraph>();
  // Other threads go on calling CUDA: NCCL starts its operations from threads of its own.
  graph->graph().capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
  absl::Status status;
  try {
    status = work();
  } catch (...) {
    EndFailedRecording(graph->graph());
    throw;
  }
  if (!status.ok()) {
    EndFailedRecording(graph->graph());
    return status;
  }
  graph->graph().capture_end();
  return graph;
}

}  // namespace lockstep::worker
