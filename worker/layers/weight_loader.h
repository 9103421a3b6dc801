#ifndef LOCKSTEP_WORKER_LAYERS_WEIGHT_LOADER_H_
#define LOCKSTEP_WORKER_LAYERS_WEIGHT_LOADER_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/tensor_parallel.h"
#include "worker/kernels/linear.h"
#include "worker/kernels/thread_pool.h"
#include "worker/layers/copies_under_way.h"

namespace lockstep::worker {

// Reads one rank's slices of a checkpoint straight from the mapped files into the kernels' layout,
// converting to the model's dtype. Pages that were read are given back at once, so that loading
// takes no more memory than the weights themselves.
class WeightLoader {
 public:
  struct Target {
    at::ScalarType dtype = at::kFloat;
    at::Device device = at::kCPU;
    // Heads are stored with this many features, zeros at the end: a multiple of what the attention
    // kernels need. At least config.head_dim.
    int64_t padded_head_dim = 0;
  };

  // The references are borrowed. `progress` may be empty; it gets bytes read and bytes to read.
  WeightLoader(const Checkpoint& checkpoint, const LlamaConfig& config, const ShardPlan& plan,
               const Target& target, ThreadPool& pool,
               std::function<void(uint64_t, uint64_t)> progress);

  // This rank's slices of the named matrices, one below the other: [sum of their rows, columns].
  LinearWeight Matrix(const std::vector<std::string>& names);
  // This rank's slices of the named vectors, one after the other; undefined when this rank has none
  // of them.
  at::Tensor Vector(const std::vector<std::string>& names);

  uint64_t bytes_total() const { return bytes_total_; }

 private:
  // A slice with the sizes that it has in memory.
  struct Part {
    std::string name;
    const StoredTensor* stored = nullptr;
    at::ScalarType stored_dtype = at::kFloat;
    TensorSlice slice;
    int64_t row_stride = 0;     // elements of the stored tensor
    bool pads_rows = false;     // rows are features of heads, which are padded
    bool pads_columns = false;  // the same for columns
    int64_t num_rows = 0;       // padding included
    int64_t num_columns = 0;    // padding included
  };

  Part MakePart(const std::string& name) const;
  const std::byte* RowPointer(const Part& part, int64_t row) const;
  void PackPart(const Part& part, int64_t first_row, LinearWeight& weight);
  // Packs rows [begin, end) of the stored tensor, in parallel, to rows from `first_row` on. Waits
  // for copies to a GPU that are too far behind.
  void PackRows(const Part& part, const Range& rows, int64_t first_row, LinearWeight& weight);
  void PackPaddedColumns(const Part& part, const Range& rows, int64_t first_row,
                         LinearWeight& weight);
  // Notes that rows of `part` were read: progress, and memory given back.
  void FinishRows(const Part& part, const Range& rows);

  const Checkpoint& checkpoint_;
  const LlamaConfig& config_;
  const ShardPlan& plan_;
  const Target target_;
  ThreadPool& pool_;
  const std::function<void(uint64_t, uint64_t)> progress_;
  std::unordered_map<std::string, ExpectedTensor> expected_;
  uint64_t bytes_total_ = 0;
  uint64_t bytes_read_ = 0;
  std::chrono::steady_clock::time_point next_report_{};
  CopiesUnderWay<c10::Event> copies_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LAYERS_WEIGHT_LOADER_H_
