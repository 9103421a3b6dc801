#include "worker/layers/weight_loader.h"

#include <ATen/ops/zeros.h>
#include <c10/core/ScalarType.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace lockstep::worker {
namespace {

// Read, then given back, at a time.
constexpr int64_t kChunkBytes = int64_t{16} << 20;
constexpr std::chrono::milliseconds kReportInterval{50};

at::ScalarType StoredDtype(const std::string& name) {
  if (name == "F16") return at::kHalf;
  if (name == "BF16") return at::kBFloat16;
  return at::kFloat;  // Checkpoint::Open let nothing else pass
}

bool IsSplitByHeads(const std::string& name) {
  return name.find(".q_proj.") != std::string::npos || name.find(".k_proj.") != std::string::npos ||
         name.find(".v_proj.") != std::string::npos;
}

}  // namespace

WeightLoader::WeightLoader(const Checkpoint& checkpoint, const LlamaConfig& config,
                           const ShardPlan& plan, const Target& target, ThreadPool& pool,
                           std::function<void(uint64_t, uint64_t)> progress)
    : checkpoint_(checkpoint),
      config_(config),
      plan_(plan),
      target_(target),
      pool_(pool),
      progress_(std::move(progress)) {
  for (ExpectedTensor& tensor : ExpectedTensors(config)) {
    const TensorSlice slice = RankSlice(config, plan, tensor);
    bytes_total_ += static_cast<uint64_t>(slice.rows.size() * slice.columns.size()) *
                    c10::elementSize(StoredDtype(checkpoint.tensor(tensor.name).dtype));
    expected_.emplace(tensor.name, std::move(tensor));
  }
}

WeightLoader::Part WeightLoader::MakePart(const std::string& name) const {
  Part part;
  part.name = name;
  part.stored = &checkpoint_.tensor(name);
  part.stored_dtype = StoredDtype(part.stored->dtype);
  const ExpectedTensor& expected = expected_.at(name);
  part.slice = RankSlice(config_, plan_, expected);
  part.row_stride = expected.shape.size() > 1 ? expected.shape[1] : 1;
  const bool is_padded = target_.padded_head_dim != config_.head_dim;
  part.pads_rows = is_padded && IsSplitByHeads(name);
  part.pads_columns = is_padded && name.find(".o_proj.weight") != std::string::npos;
  const auto padded = [&](int64_t size) {
    return size / config_.head_dim * target_.padded_head_dim;
  };
  const int64_t num_rows = part.slice.rows.size();
  const int64_t num_columns = part.slice.columns.size();
  part.num_rows = part.pads_rows ? padded(num_rows) : num_rows;
  part.num_columns = part.pads_columns ? padded(num_columns) : num_columns;
  return part;
}

const std::byte* WeightLoader::RowPointer(const Part& part, int64_t row) const {
  const int64_t element = row * part.row_stride + part.slice.columns.begin;
  return part.stored->data + element * static_cast<int64_t>(c10::elementSize(part.stored_dtype));
}

LinearWeight WeightLoader::Matrix(const std::vector<std::string>& names) {
  std::vector<Part> parts;
  int64_t num_rows = 0;
  for (const std::string& name : names) {
    parts.push_back(MakePart(name));
    num_rows += parts.back().num_rows;
  }
  LinearWeight weight =
      LinearWeight::Create(num_rows, parts[0].num_columns, target_.dtype, target_.device);
  int64_t first_row = 0;
  for (const Part& part : parts) {
    PackPart(part, first_row, weight);
    first_row += part.num_rows;
  }
  return weight;
}

void WeightLoader::PackPart(const Part& part, int64_t first_row, LinearWeight& weight) {
  const Range& rows = part.slice.rows;
  if (part.pads_rows) {
    const int64_t num_heads = rows.size() / config_.head_dim;
    for (int64_t head = 0; head < num_heads; ++head) {
      const int64_t begin = rows.begin + head * config_.head_dim;
      PackRows(part, {begin, begin + config_.head_dim}, first_row + head * target_.padded_head_dim,
               weight);
    }
    return;
  }
  const int64_t row_bytes =
      part.row_stride * static_cast<int64_t>(c10::elementSize(part.stored_dtype));
  const int64_t rows_per_chunk = std::max<int64_t>(1, kChunkBytes / row_bytes);
  for (int64_t begin = rows.begin; begin < rows.end; begin += rows_per_chunk) {
    PackRows(part, {begin, std::min(rows.end, begin + rows_per_chunk)},
             first_row + begin - rows.begin, weight);
  }
}

void WeightLoader::PackRows(const Part& part, const Range& rows, int64_t first_row,
                            LinearWeight& weight) {
  // A GPU may fail, and the pool's tasks must not throw.
  std::vector<std::exception_ptr> errors(static_cast<size_t>(pool_.num_threads()));
  // Where the weight was filled with zeros: copies that go elsewhere may come before them.
  const c10::Stream stream =
      c10::impl::VirtualGuardImpl(target_.device.type()).getStream(target_.device);
  pool_.ParallelFor(rows.size(), [&](int thread, int64_t begin, int64_t end) {
    const c10::StreamGuard guard(stream);
    const Range own = {rows.begin + begin, rows.begin + end};
    try {
      if (part.pads_columns) {
        PackPaddedColumns(part, own, first_row + begin, weight);
      } else {
        weight.PackRows(first_row + begin, own.size(), RowPointer(part, own.begin),
                        part.stored_dtype, part.row_stride);
      }
    } catch (...) {
      errors[static_cast<size_t>(thread)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  if (!target_.device.is_cpu()) {
    c10::Event end(target_.device.type());
    end.record(stream);
    copies_.Add(std::move(end));
  }
  FinishRows(part, rows);
}

void WeightLoader::PackPaddedColumns(const Part& part, const Range& rows, int64_t first_row,
                                     LinearWeight& weight) {
  const size_t element_size = c10::elementSize(part.stored_dtype);
  const size_t head_bytes = static_cast<size_t>(config_.head_dim) * element_size;
  const size_t padded_bytes = static_cast<size_t>(target_.padded_head_dim) * element_size;
  const int64_t num_heads = part.num_columns / target_.padded_head_dim;
  std::vector<std::byte> row(static_cast<size_t>(part.num_columns) * element_size);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t head = 0; head < num_heads; ++head) {
      std::memcpy(row.data() + head * padded_bytes, RowPointer(part, i) + head * head_bytes,
                  head_bytes);
    }
    weight.PackRows(first_row + i - rows.begin, 1, row.data(), part.stored_dtype, part.num_columns);
  }
}

void WeightLoader::FinishRows(const Part& part, const Range& rows) {
  const size_t element_size = c10::elementSize(part.stored_dtype);
  const size_t row_bytes = static_cast<size_t>(part.row_stride) * element_size;
  checkpoint_.Release(part.name, part.stored->data + rows.begin * row_bytes,
                      part.stored->data + rows.end * row_bytes);
  bytes_read_ += static_cast<uint64_t>(rows.size() * part.slice.columns.size()) * element_size;
  const auto now = std::chrono::steady_clock::now();
  if (!progress_ || (now < next_report_ && bytes_read_ != bytes_total_)) return;
  next_report_ = now + kReportInterval;
  progress_(bytes_read_, bytes_total_);
}

at::Tensor WeightLoader::Vector(const std::vector<std::string>& names) {
  std::vector<Part> parts;
  int64_t size = 0;
  for (const std::string& name : names) {
    parts.push_back(MakePart(name));
    size += parts.back().num_rows;
  }
  if (size == 0) return {};
  // Elements are put together as stored, then converted. Stored types may differ between parts.
  at::Tensor vector = at::zeros({size}, at::TensorOptions().dtype(target_.dtype));
  int64_t offset = 0;
  for (const Part& part : parts) {
    const int64_t num_stored = part.slice.rows.size();
    at::Tensor stored = at::zeros({num_stored}, at::TensorOptions().dtype(part.stored_dtype));
    std::memcpy(stored.data_ptr(), RowPointer(part, part.slice.rows.begin), stored.nbytes());
    at::Tensor target = vector.narrow(0, offset, part.num_rows);
    if (part.pads_rows) {
      target.view({-1, target_.padded_head_dim})
          .narrow(1, 0, config_.head_dim)
          .copy_(stored.view({-1, config_.head_dim}));
    } else {
      target.copy_(stored);
    }
    FinishRows(part, part.slice.rows);
    offset += part.num_rows;
  }
  return vector.to(target_.device);
}

}  // namespace lockstep::worker
