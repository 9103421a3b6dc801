// How ranks share the work on rows of sums: ShmCommunicator::ReduceRows.
#include <algorithm>
#include <cstring>

#include "worker/comm/shm_communicator.h"
#include "worker/comm/sum_in_order.h"

namespace lockstep::worker {
namespace {

// With fewer rows the waits that sharing takes are not worth it.
constexpr int64_t kMinSharedRows = 128;

// A matrix whose rows the ranks share, each a range of them, and the pieces of these ranges that
// are exchanged at a time. A rank's buffer holds its parts of the next piece of every other rank,
// [world_size - 1, piece's rows, row_floats], and behind them the rows that it has finished,
// [piece's rows, out_row_bytes].
class RowPieces {
 public:
  RowPieces(int world_size, const at::Tensor& partial, const at::Tensor& out)
      : world_size_(world_size),
        num_rows_(partial.size(0)),
        row_floats_(partial.size(1)),
        out_row_bytes_(out.size(1) * static_cast<int64_t>(out.element_size())) {
    const int64_t part_bytes = row_floats_ * static_cast<int64_t>(sizeof(float));
    piece_rows_ = static_cast<int64_t>(kShmChunkBytes) /
                  std::max<int64_t>(1, (world_size - 1) * part_bytes + out_row_bytes_);
  }

  bool are_shared() const { return num_rows_ >= kMinSharedRows && piece_rows_ > 0; }
  int64_t row_floats() const { return row_floats_; }
  int64_t out_row_bytes() const { return out_row_bytes_; }

  RowRange Share(int rank) const {
    return {num_rows_ * rank / world_size_, num_rows_ * (rank + 1) / world_size_};
  }
  // Of every rank's share; the last ones of some may be empty.
  int64_t num_pieces() const {
    const int64_t largest_share = (num_rows_ + world_size_ - 1) / world_size_;
    return (largest_share + piece_rows_ - 1) / piece_rows_;
  }
  // Empty before the first and behind the last.
  RowRange Piece(int rank, int64_t index) const {
    const RowRange share = Share(rank);
    const int64_t begin = std::clamp(share.begin + index * piece_rows_, share.begin, share.end);
    const int64_t end = std::clamp(share.begin + (index + 1) * piece_rows_, share.begin, share.end);
    return {begin, end};
  }

  // In the buffer of `rank`, its part of the piece that `owner`, another one, sums up.
  float* Part(std::byte* buffer, int rank, int owner) const {
    const int64_t slot = owner < rank ? owner : owner - 1;
    return reinterpret_cast<float*>(buffer) + slot * piece_rows_ * row_floats_;
  }
  std::byte* Finished(std::byte* buffer) const {
    return reinterpret_cast<std::byte*>(Part(buffer, 0, world_size_));
  }

 private:
  int world_size_;
  int64_t num_rows_, row_floats_, out_row_bytes_;
  int64_t piece_rows_;
};

std::byte* Row(const at::Tensor& matrix, int64_t row) {
  return static_cast<std::byte*>(matrix.data_ptr()) +
         row * matrix.stride(0) * static_cast<int64_t>(matrix.element_size());
}

}  // namespace

RowRange ShmCommunicator::OwnRows(const at::Tensor& partial, const at::Tensor& out) const {
  const RowPieces pieces(world_size_, partial, out);
  return pieces.are_shared() ? pieces.Share(rank_) : Communicator::OwnRows(partial, out);
}

absl::Status ShmCommunicator::ReduceRows(at::Tensor& partial, FinishRows finish, at::Tensor& out) {
  const RowPieces pieces(world_size_, partial, out);
  if (!pieces.are_shared()) return Communicator::ReduceRows(partial, finish, out);
  auto* data = partial.data_ptr<float>();
  const int64_t row_floats = pieces.row_floats();
  const auto row_bytes = static_cast<size_t>(pieces.out_row_bytes());
  // What is finished in one round goes to the other ranks in the next.
  for (int64_t index = 0; index <= pieces.num_pieces(); ++index) {
    if (absl::Status status = Begin(); !status.ok()) return status;
    for (int owner = 0; owner < world_size_; ++owner) {
      const RowRange piece = pieces.Piece(owner, index);
      if (owner == rank_) continue;
      std::memcpy(pieces.Part(Buffer(rank_), rank_, owner), data + piece.begin * row_floats,
                  static_cast<size_t>(piece.size() * row_floats) * sizeof(float));
    }
    std::byte* to = pieces.Finished(Buffer(rank_));
    const RowRange finished = pieces.Piece(rank_, index - 1);
    for (int64_t row = finished.begin; row < finished.end; ++row, to += row_bytes) {
      std::memcpy(to, Row(out, row), row_bytes);
    }
    if (absl::Status status = WaitForAll(Arrive()); !status.ok()) return status;
    for (int peer = 0; peer < world_size_; ++peer) {
      if (peer == rank_) continue;
      const std::byte* from = pieces.Finished(Buffer(peer));
      const RowRange piece = pieces.Piece(peer, index - 1);
      for (int64_t row = piece.begin; row < piece.end; ++row, from += row_bytes) {
        std::memcpy(Row(out, row), from, row_bytes);
      }
    }
    const RowRange own = pieces.Piece(rank_, index);
    if (own.size() == 0) continue;
    const float* parts[kMaxShmRanks];
    for (int rank = 0; rank < world_size_; ++rank) {
      parts[rank] =
          rank == rank_ ? data + own.begin * row_floats : pieces.Part(Buffer(rank), rank, rank_);
    }
    SumInOrder({parts, static_cast<size_t>(world_size_)}, own.size() * row_floats,
               data + own.begin * row_floats);
    finish(own.begin, own.size());
  }
  return absl::OkStatus();
}

}  // namespace lockstep::worker
