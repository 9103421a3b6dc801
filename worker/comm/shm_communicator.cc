#include "worker/comm/shm_communicator.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "process/monotonic_time.h"
#include "process/processor_count.h"
#include "worker/comm/futex.h"
#include "worker/comm/sum_in_order.h"

namespace lockstep::worker {
namespace {

constexpr int64_t kChunkFloats = kShmChunkBytes / sizeof(float);
// At or below this many elements, or with two ranks, one wait is worth more than sharing the sums.
constexpr int64_t kOneShotFloats = 4096;
// One spin is a few tens of nanoseconds. With a processor for every thread, spinning bridges the
// usual difference between ranks; with fewer it would take time from the rank that is waited for.
constexpr int kLongSpins = 10'000;
constexpr int kShortSpins = 20;
// A sleep that is shorter than this should have been a spin.
constexpr absl::Duration kShortSleep = absl::Microseconds(200);
constexpr absl::Duration kSleepSlice = absl::Milliseconds(20);

int MaxSpins(const CommunicatorOptions& options) {
  const int num_ranks = options.has_own_cores ? 1 : options.world_size;
  const int num_threads = num_ranks * options.num_threads_per_rank;
  return num_threads <= NumUsableProcessors() ? kLongSpins : kShortSpins;
}

// Strides are in elements, from one row to the next.
void CopyRows(const float* from, int64_t from_stride, int64_t num_rows, int64_t num_columns,
              float* to, int64_t to_stride) {
  for (int64_t row = 0; row < num_rows; ++row) {
    std::memcpy(to + row * to_stride, from + row * from_stride,
                static_cast<size_t>(num_columns) * sizeof(float));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShmCommunicator>> ShmCommunicator::Create(
    const CommunicatorOptions& options) {
  absl::StatusOr<std::unique_ptr<ShmSegment>> segment = ShmSegment::Attach(
      options.communicator_id, options.rank, options.world_size, options.timeout);
  if (!segment.ok()) return segment.status();
  return std::unique_ptr<ShmCommunicator>(new ShmCommunicator(options, *std::move(segment)));
}

ShmCommunicator::ShmCommunicator(const CommunicatorOptions& options,
                                 std::unique_ptr<ShmSegment> segment)
    : Communicator(*options.device, options.timeout),
      rank_(options.rank),
      world_size_(options.world_size),
      max_spins_(MaxSpins(options)),
      num_spins_(max_spins_),
      segment_(std::move(segment)) {}

bool ShmCommunicator::HasArrived(int peer, uint32_t arrival) const {
  const uint32_t arrived = segment_->header().ranks[peer].arrived.load(std::memory_order_acquire);
  return static_cast<int32_t>(arrived - arrival) >= 0;  // the numbers wrap
}

absl::Status ShmCommunicator::Begin() {
  buffer_ = (buffer_ + 1) % kNumShmBuffers;
  return WaitForAll(last_arrival_);
}

uint32_t ShmCommunicator::Arrive() {
  ShmRankState& own = segment_->header().ranks[rank_];
  // Sequentially consistent, as are a sleeper's announcement and its look at `arrived`: either the
  // sleeper sees the new number or this rank sees the sleeper.
  own.arrived.store(++last_arrival_);
  if (own.num_sleepers.load() != 0) FutexWakeAll(own.arrived);
  return last_arrival_;
}

absl::Status ShmCommunicator::WaitForAll(uint32_t arrival) {
  for (int peer = 0; peer < world_size_; ++peer) {
    if (HasArrived(peer, arrival)) continue;
    if (absl::Status status = WaitFor(peer, arrival); !status.ok()) return status;
  }
  // A rank that aborts may have arrived before; its peers must not go on alone.
  return CheckAborted();
}

absl::Status ShmCommunicator::WaitFor(int peer, uint32_t arrival) {
  for (int spin = 0; spin < num_spins_; ++spin) {
    if (HasArrived(peer, arrival)) return absl::OkStatus();
    _mm_pause();
  }
  return SleepUntilArrived(peer, arrival);
}

absl::Status ShmCommunicator::SleepUntilArrived(int peer, uint32_t arrival) {
  ShmRankState& state = segment_->header().ranks[peer];
  const absl::Time begin = MonotonicNow();
  const absl::Time deadline = begin + timeout();
  absl::Status status;
  state.num_sleepers.fetch_add(1);
  while (status.ok() && !HasArrived(peer, arrival)) {
    const uint32_t seen = state.arrived.load();
    if (static_cast<int32_t>(seen - arrival) >= 0) break;
    FutexWait(state.arrived, seen, kSleepSlice);
    if (HasArrived(peer, arrival)) break;
    status = CheckAborted();
    if (status.ok() && !segment_->IsAlive(peer)) {
      // It may have arrived and ended well since.
      if (HasArrived(peer, arrival)) break;
      status = absl::UnavailableError(absl::StrCat("the process of rank ", peer, " has ended"));
    }
    if (status.ok() && MonotonicNow() >= deadline) status = MissingRanks(arrival);
  }
  state.num_sleepers.fetch_sub(1);
  const bool was_short = MonotonicNow() - begin < kShortSleep;
  num_spins_ = std::clamp(was_short ? num_spins_ * 2 : num_spins_ / 2, kShortSpins, max_spins_);
  return status;
}

absl::Status ShmCommunicator::MissingRanks(uint32_t arrival) const {
  std::string missing;
  for (int peer = 0; peer < world_size_; ++peer) {
    if (!HasArrived(peer, arrival)) absl::StrAppend(&missing, missing.empty() ? "" : ", ", peer);
  }
  return absl::DeadlineExceededError(absl::StrCat("rank ", rank_, " waited ",
                                                  absl::FormatDuration(timeout()),
                                                  " in a collective for rank ", missing));
}

absl::Status ShmCommunicator::CheckAborted() const {
  const uint32_t aborted = segment_->header().aborted.load(std::memory_order_relaxed);
  if (aborted == 0) return absl::OkStatus();
  return absl::CancelledError(absl::StrCat("the communicator was aborted by rank ", aborted - 1));
}

void ShmCommunicator::Abort() {
  ShmHeader& header = segment_->header();
  uint32_t expected = 0;
  header.aborted.compare_exchange_strong(expected, static_cast<uint32_t>(rank_) + 1);
  for (int peer = 0; peer < world_size_; ++peer) FutexWakeAll(header.ranks[peer].arrived);
}

absl::Status ShmCommunicator::AllReduceSum(at::Tensor& data) {
  auto* floats = data.data_ptr<float>();
  const int64_t size = data.numel();
  for (int64_t begin = 0; begin < size; begin += kChunkFloats) {
    const int64_t num = std::min(kChunkFloats, size - begin);
    const bool is_one_shot = world_size_ == 2 || num <= kOneShotFloats;
    absl::Status status =
        is_one_shot ? ReduceOneShot(floats + begin, num) : ReduceTwoShot(floats + begin, num);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::ReduceOneShot(float* data, int64_t size) {
  if (absl::Status status = Begin(); !status.ok()) return status;
  std::memcpy(Buffer(rank_), data, static_cast<size_t>(size) * sizeof(float));
  if (absl::Status status = WaitForAll(Arrive()); !status.ok()) return status;
  const float* parts[kMaxShmRanks];
  for (int rank = 0; rank < world_size_; ++rank) parts[rank] = Floats(rank);
  SumInOrder({parts, static_cast<size_t>(world_size_)}, size, data);
  return absl::OkStatus();
}

absl::Status ShmCommunicator::ReduceTwoShot(float* data, int64_t size) {
  if (absl::Status status = Begin(); !status.ok()) return status;
  std::memcpy(Buffer(rank_), data, static_cast<size_t>(size) * sizeof(float));
  if (absl::Status status = WaitForAll(Arrive()); !status.ok()) return status;
  const auto slice_begin = [&](int rank) { return size * rank / world_size_; };
  const int64_t begin = slice_begin(rank_);
  float* bases[kMaxShmRanks];
  const float* parts[kMaxShmRanks];
  for (int rank = 0; rank < world_size_; ++rank) {
    bases[rank] = Floats(rank);
    parts[rank] = bases[rank] + begin;
  }
  // The sum replaces this rank's part of its own slice, which no other rank reads before.
  SumInOrder({parts, static_cast<size_t>(world_size_)}, slice_begin(rank_ + 1) - begin,
             bases[rank_] + begin);
  if (absl::Status status = WaitForAll(Arrive()); !status.ok()) return status;
  for (int rank = 0; rank < world_size_; ++rank) {
    const int64_t first = slice_begin(rank);
    std::memcpy(data + first, bases[rank] + first,
                static_cast<size_t>(slice_begin(rank + 1) - first) * sizeof(float));
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::AllGather(const at::Tensor& in, at::Tensor& out) {
  const auto* source = static_cast<const std::byte*>(in.const_data_ptr());
  auto* destination = static_cast<std::byte*>(out.data_ptr());
  const size_t size = in.nbytes();
  for (size_t begin = 0; begin < size; begin += kShmChunkBytes) {
    const size_t num = std::min(kShmChunkBytes, size - begin);
    if (absl::Status status = Begin(); !status.ok()) return status;
    std::memcpy(Buffer(rank_), source + begin, num);
    if (absl::Status status = WaitForAll(Arrive()); !status.ok()) return status;
    for (int rank = 0; rank < world_size_; ++rank) {
      std::memcpy(destination + rank * size + begin, Buffer(rank), num);
    }
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::GatherColumns(const at::Tensor& shard,
                                            std::span<const int64_t> column_offsets,
                                            at::Tensor& out) {
  const int64_t num_rows = shard.size(0);
  if (rank_ == 0 && shard.const_data_ptr() != out.const_data_ptr()) {
    CopyRows(shard.const_data_ptr<float>(), shard.stride(0), num_rows, column_offsets[1],
             out.data_ptr<float>(), out.stride(0));
  }
  int64_t max_columns = 1;
  for (int rank = 1; rank < world_size_; ++rank) {
    max_columns = std::max(max_columns, column_offsets[rank + 1] - column_offsets[rank]);
  }
  // Whole rows where they fit in a buffer, else pieces of a row.
  const int64_t piece = std::min(max_columns, kChunkFloats);
  const int64_t rows_per_chunk = kChunkFloats / piece;
  for (int64_t row = 0; row < num_rows; row += rows_per_chunk) {
    for (int64_t column = 0; column < max_columns; column += piece) {
      const Block block{.first_row = row,
                        .num_rows = std::min(rows_per_chunk, num_rows - row),
                        .first_column = column,
                        .max_columns = piece};
      absl::Status status = GatherBlock(shard, column_offsets, block, out);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::GatherBlock(const at::Tensor& shard,
                                          std::span<const int64_t> column_offsets,
                                          const Block& block, at::Tensor& out) {
  if (absl::Status status = Begin(); !status.ok()) return status;
  const auto num_columns = [&](int rank) {
    const int64_t width = column_offsets[rank + 1] - column_offsets[rank];
    return std::clamp<int64_t>(width - block.first_column, 0, block.max_columns);
  };
  if (rank_ != 0) {
    const int64_t stride = shard.stride(0);
    CopyRows(shard.const_data_ptr<float>() + block.first_row * stride + block.first_column, stride,
             block.num_rows, num_columns(rank_), Floats(rank_), block.max_columns);
  }
  Arrive();
  if (rank_ != 0) return CheckAborted();
  if (absl::Status status = WaitForAll(last_arrival_); !status.ok()) return status;
  const int64_t out_stride = out.stride(0);
  for (int rank = 1; rank < world_size_; ++rank) {
    CopyRows(Floats(rank), block.max_columns, block.num_rows, num_columns(rank),
             out.data_ptr<float>() + block.first_row * out_stride + column_offsets[rank] +
                 block.first_column,
             out_stride);
  }
  return absl::OkStatus();
}

absl::Status ShmCommunicator::Broadcast(at::Tensor& data) {
  auto* bytes = static_cast<std::byte*>(data.data_ptr());
  const size_t size = data.nbytes();
  for (size_t begin = 0; begin < size; begin += kShmChunkBytes) {
    const size_t num = std::min(kShmChunkBytes, size - begin);
    if (absl::Status status = Begin(); !status.ok()) return status;
    if (rank_ == 0) std::memcpy(Buffer(0), bytes + begin, num);
    const uint32_t arrival = Arrive();
    if (rank_ == 0) continue;
    if (!HasArrived(0, arrival)) {
      if (absl::Status status = WaitFor(0, arrival); !status.ok()) return status;
    }
    std::memcpy(bytes + begin, Buffer(0), num);
  }
  return CheckAborted();
}

absl::Status ShmCommunicator::Barrier() {
  if (absl::Status status = Begin(); !status.ok()) return status;
  return WaitForAll(Arrive());
}

absl::Status ShmCommunicator::Check() { return CheckAborted(); }

}  // namespace lockstep::worker
