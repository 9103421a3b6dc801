#include "worker/runtime/decode_graphs.h"

#include <algorithm>
#include <utility>

namespace lockstep::worker {
namespace {

constexpr int64_t kMaxBatchSize = 512;

int64_t NextSize(int64_t size) {
  if (size < 8) return 2 * size;
  return size + (size < 256 ? 8 : 32);
}

}  // namespace

std::vector<int64_t> DecodeBatchSizes(int64_t max_num_seqs) {
  const int64_t largest = std::min(max_num_seqs, kMaxBatchSize);
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size < largest; size = NextSize(size)) sizes.push_back(size);
  sizes.push_back(largest);
  return sizes;
}

absl::Status DecodeGraphs::Record(GraphRecorder& recorder, const std::vector<int64_t>& batch_sizes,
                                  const Steps& steps) {
  for (auto size = batch_sizes.rbegin(); size != batch_sizes.rend(); ++size) {
    auto entry = std::make_unique<Entry>();
    const auto work = [forward = steps.forward, batch = steps.make_batch(*size),
                       hidden = &entry->hidden] { return forward(batch, *hidden); };
    absl::Status status = work();
    // The host's copy of the inputs is free again, and nothing disturbs the recording.
    if (status.ok()) status = steps.wait();
    if (!status.ok()) return status;
    absl::StatusOr<std::unique_ptr<RecordedGraph>> graph = recorder.Record(work);
    if (!graph.ok()) return graph.status();
    entry->graph = *std::move(graph);
    entries_[*size] = std::move(entry);
  }
  return absl::OkStatus();
}

int64_t DecodeGraphs::BatchSizeFor(const std::vector<Run>& runs) const {
  const bool are_decodes = std::all_of(
      runs.begin(), runs.end(), [](const Run& run) { return run.is_decode && run.reaches_end; });
  if (!are_decodes || runs.empty()) return 0;
  const auto it = entries_.lower_bound(static_cast<int64_t>(runs.size()));
  return it == entries_.end() ? 0 : it->first;
}

at::Tensor DecodeGraphs::Replay(int64_t batch_size) {
  const Entry& entry = *entries_.at(batch_size);
  entry.graph->Replay();
  return entry.hidden;
}

}  // namespace lockstep::worker
