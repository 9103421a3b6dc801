#include "server/engine/mask_board.h"

#include <algorithm>
#include <utility>

namespace lockstep::server {

void MaskBoard::AddRow(const GuidedRow& row) {
  if (steps_.empty() || steps_.back().number != row.step) steps_.push_back({row.step, {}});
  steps_.back().rows.push_back({row.handle, row.slot, row.position});
}

void MaskBoard::SetMask(RequestHandle handle, int32_t position, std::string mask) {
  const auto it = masks_.find(handle);
  if (it != masks_.end()) it->second = {position, std::move(mask)};
}

void MaskBoard::DropRows(RequestHandle handle) {
  for (Step& step : steps_) {
    for (Row& row : step.rows) {
      if (row.handle == handle) row.handle = 0;
    }
  }
}

bool MaskBoard::IsMissing(const Row& row) const {
  const auto it = masks_.find(row.handle);
  return it != masks_.end() && it->second.position != row.position;
}

std::vector<worker::v1::TokenMasks> MaskBoard::TakeReady() {
  std::vector<worker::v1::TokenMasks> ready;
  while (!steps_.empty()) {
    const Step& step = steps_.front();
    if (std::any_of(step.rows.begin(), step.rows.end(),
                    [this](const Row& row) { return IsMissing(row); })) {
      break;
    }
    worker::v1::TokenMasks& message = ready.emplace_back();
    message.set_step(step.number);
    for (const Row& row : step.rows) {
      worker::v1::SlotMask& mask = *message.add_masks();
      mask.set_slot(row.slot);
      const auto it = masks_.find(row.handle);
      if (it != masks_.end()) mask.set_allowed(it->second.allowed);
    }
    steps_.pop_front();
  }
  return ready;
}

std::optional<uint64_t> MaskBoard::waiting_step() const {
  return steps_.empty() ? std::nullopt : std::optional<uint64_t>(steps_.front().number);
}

std::vector<RequestHandle> MaskBoard::Missing() const {
  std::vector<RequestHandle> missing;
  if (steps_.empty()) return missing;
  for (const Row& row : steps_.front().rows) {
    if (IsMissing(row)) missing.push_back(row.handle);
  }
  return missing;
}

}  // namespace lockstep::server
