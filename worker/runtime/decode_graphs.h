#ifndef LOCKSTEP_WORKER_RUNTIME_DECODE_GRAPHS_H_
#define LOCKSTEP_WORKER_RUNTIME_DECODE_GRAPHS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "worker/device/graph_recorder.h"
#include "worker/layers/step_batch.h"
#include "worker/runtime/slot_table.h"

namespace lockstep::worker {

// The numbers of rows that decode steps are padded to, ascending: 1, 2, 4, 8, then every 8th up to
// 256 and every 32nd up to 512, as far as they are below `max_num_seqs`, and max_num_seqs itself up
// to 512. A larger step keeps a GPU busy for longer than the host takes to start it.
std::vector<int64_t> DecodeBatchSizes(int64_t max_num_seqs);

// The model's forward pass over steps of decodes alone, recorded at start-up for several batch
// sizes and replayed for each such step, padded to the next size. Collectives are part of the
// graphs, so all ranks record the same sizes in the same order, and replay the same ones.
//
// Borrows what the recorded work uses, which therefore outlives it.
class DecodeGraphs {
 public:
  // Puts a batch of `num_rows` rows of padding alone where such steps' inputs lie.
  using MakeBatch = std::function<StepBatch(int64_t num_rows)>;
  // As LlamaModel::Forward.
  using Forward = std::function<absl::Status(const StepBatch& batch, at::Tensor& hidden)>;
  // Returns when the device has done what was enqueued.
  using Wait = std::function<absl::Status()>;

  struct Steps {
    MakeBatch make_batch;
    Forward forward;
    Wait wait;
  };

  // Records a graph for each of `batch_sizes`, the largest first, so that the others find scratch
  // memory that suffices. Each size is run once before: libraries set themselves up at first use,
  // which cannot be recorded. Errors are forward's, wait's and the recorder's.
  absl::Status Record(GraphRecorder& recorder, const std::vector<int64_t>& batch_sizes,
                      const Steps& steps);

  // The batch size to pad a step of these runs to; 0 where none of the graphs fits: there are
  // prefills, decodes that nobody wants logits of, or more rows than recorded.
  int64_t BatchSizeFor(const std::vector<Run>& runs) const;

  // Starts the forward pass over the inputs of `batch_size` rows, one of those recorded. Returns
  // [batch_size, hidden_size], valid until the model's next call. Throws c10::Error when the device
  // refuses.
  at::Tensor Replay(int64_t batch_size);

 private:
  struct Entry {
    at::Tensor hidden;  // [batch size, hidden_size]
    std::unique_ptr<RecordedGraph> graph;
  };

  std::map<int64_t, std::unique_ptr<Entry>> entries_;  // by batch size
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_DECODE_GRAPHS_H_
