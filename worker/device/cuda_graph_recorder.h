#ifndef LOCKSTEP_WORKER_DEVICE_CUDA_GRAPH_RECORDER_H_
#define LOCKSTEP_WORKER_DEVICE_CUDA_GRAPH_RECORDER_H_

#include <ATen/cuda/CUDAGraph.h>

#include <functional>
#include <memory>

#include "worker/device/graph_recorder.h"

namespace lockstep::worker {

// Captures CUDA graphs. What LibTorch allocates while recording comes from one memory pool that all
// graphs share and that nothing else uses.
class CudaGraphRecorder : public GraphRecorder {
 public:
  absl::StatusOr<std::unique_ptr<RecordedGraph>> Record(
      const std::function<absl::Status()>& work) override;

 private:
  const c10::MempoolId_t pool_ = at::cuda::graph_pool_handle();
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_CUDA_GRAPH_RECORDER_H_
