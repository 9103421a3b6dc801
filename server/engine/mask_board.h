// Which masks the steps in flight wait for, and which are there.
#ifndef LOCKSTEP_SERVER_ENGINE_MASK_BOARD_H_
#define LOCKSTEP_SERVER_ENGINE_MASK_BOARD_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/scheduler/event.h"
#include "server/scheduler/request.h"

namespace lockstep::server {

// A pure state machine. A step's masks go out together, as soon as each of its guided rows has its
// mask, or nobody wants its token any more; and in the order of steps.
class MaskBoard {
 public:
  // A guided request that rows may belong to, until Remove.
  void Add(RequestHandle handle) { masks_[handle]; }
  // The request has ended: nobody wants what its rows sample.
  void Remove(RequestHandle handle) { masks_.erase(handle); }

  // A row of a step that is planned. Steps come in order.
  void AddRow(const GuidedRow& row);
  // The mask of the request's token at `position`; it replaces the one before.
  void SetMask(RequestHandle handle, int32_t position, std::string mask);
  // Nobody wants what the request's rows so far sample.
  void DropRows(RequestHandle handle);

  // The masks that can go out, each once.
  std::vector<worker::v1::TokenMasks> TakeReady();

  // The oldest step that waits for masks.
  std::optional<uint64_t> waiting_step() const;
  // The requests whose masks it waits for.
  std::vector<RequestHandle> Missing() const;

 private:
  struct Mask {
    int32_t position = -1;
    std::string allowed;
  };
  struct Row {
    RequestHandle handle = 0;  // 0: nobody wants it
    uint32_t slot = 0;
    int32_t position = 0;
  };
  struct Step {
    uint64_t number = 0;
    std::vector<Row> rows;
  };

  bool IsMissing(const Row& row) const;

  absl::flat_hash_map<RequestHandle, Mask> masks_;
  std::deque<Step> steps_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_MASK_BOARD_H_
