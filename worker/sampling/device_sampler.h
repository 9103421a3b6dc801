#ifndef LOCKSTEP_WORKER_SAMPLING_DEVICE_SAMPLER_H_
#define LOCKSTEP_WORKER_SAMPLING_DEVICE_SAMPLER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "worker/device/compute_device.h"
#include "worker/sampling/mirrored_buffer.h"
#include "worker/sampling/sampler.h"
#include "worker/sampling/sampling_parameters.h"

namespace lockstep::worker {

// Sampler on the GPU, where the logits are: the same processors, filters, draws, reports and ties.
// Tokens are those of the CPU's but where rounding in float64 decides. A batch's tokens are on the
// device for the next step before the host knows them; the host collects them when it likes.
//
// A row's result does not depend on the rows beside it. From one thread at a time.
class DeviceSampler {
 public:
  struct Limits {
    int64_t max_rows = 0;
    int64_t vocab_size = 0;  // up to 2^20
    // Of batches between their Enqueue and their Collect.
    int max_batches = 2;
  };

  // A token that is known, for Sampler::Report.
  struct KnownToken {
    uint32_t token_id = 0;
    uint32_t num_top = 0;
  };

  // One row of logits. Everything is borrowed for the call.
  struct Row {
    // With values as CheckSampling accepts them.
    const SamplingParameters* parameters = nullptr;
    uint32_t position = 0;  // the number of tokens before the one to choose
    // The tokens before it that the host knows: [position], or [position - 1] where the last one is
    // pending. Read only with penalties.
    std::span<const uint32_t> history;
    // >= 0: the last token before the row is last_tokens[pending_slot], on the device.
    int32_t pending_slot = -1;
    // [ceil(vocab_size / 32)], as in SlotMask, with at least one token; or empty: no mask.
    std::span<const uint32_t> mask;
    // Reports this token, and chooses none; the fields above are not read.
    std::optional<KnownToken> known;
  };

  // The device is borrowed. Allocates the kernels' scratch memory: three rows of logits for each
  // row, for 128 rows at most. Throws c10::Error where there is no memory, and in a build without
  // CUDA.
  DeviceSampler(const ComputeDevice& device, const Limits& limits);

  // Enqueues the choice of one token for each row, on the current stream, and never waits: one
  // transfer of parameters, one kernel, one transfer of results. Returns the batch's ticket for
  // Collect. Allocates memory only where a batch has longer histories, lists or reports than any
  // before it.
  //
  //   logits       [num_rows, vocab_size] float32, contiguous, on the device
  //   last_tokens  [max_num_seqs] int32, on the device
  //   token_ids    [num_rows] int64, contiguous, on the device; the chosen tokens, 0 where the
  //                logits are broken
  int Enqueue(std::span<const Row> rows, const at::Tensor& logits, const at::Tensor& last_tokens,
              at::Tensor& token_ids);

  // The choices of the batch, one for each row, some of which may be broken; reports where they
  // were asked for. The device must have done the batch's work. The ticket is free again.
  std::vector<SampledChoice> Collect(int ticket);

 private:
  struct Batch {
    explicit Batch(const ComputeDevice& device) : inputs(device), results(device) {}

    MirroredBuffer inputs;         // rows, then their words
    MirroredBuffer results;        // of the rows, then their most probable tokens
    std::vector<int32_t> num_top;  // of each row; -1: no report
    bool is_pending = false;
  };

  void CheckEnqueue(std::span<const Row> rows, const at::Tensor& logits,
                    const at::Tensor& last_tokens, const at::Tensor& token_ids) const;

  const at::Device device_;
  const Limits limits_;
  at::Tensor scratch_;
  std::vector<Batch> batches_;
  int next_ticket_ = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_DEVICE_SAMPLER_H_
