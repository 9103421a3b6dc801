#include "server/scheduler/block_pool.h"

#include "server/scheduler/invariant.h"

namespace lockstep::server {

BlockRef::~BlockRef() {
  if (pool_ != nullptr) pool_->DropReference(block_);
}

void ReleaseBlocks(BlockTable& blocks) {
  while (!blocks.empty()) blocks.pop_back();
}

BlockPool::BlockPool(uint32_t num_blocks, std::function<void(uint32_t)> on_reuse)
    : on_reuse_(std::move(on_reuse)), states_(size_t{num_blocks} + 2) {
  for (const Reuse reuse : {Reuse::kFirst, Reuse::kLast}) {
    states_[ring(reuse)].previous = states_[ring(reuse)].next = ring(reuse);
  }
  free_.reserve(num_blocks);
  for (uint32_t block = num_blocks; block > 0; --block) free_.push_back(block - 1);
}

BlockPool::~BlockPool() {
  LOCKSTEP_INVARIANT(num_used() == 0, "a block pool is destroyed while blocks are referenced");
}

BlockRef BlockPool::Allocate() {
  LOCKSTEP_INVARIANT(num_free() > 0, "a block is taken from a pool that has none free");
  uint32_t block = 0;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else {
    block = states_[ring(Reuse::kFirst)].next;
    if (block == ring(Reuse::kFirst)) block = states_[ring(Reuse::kLast)].next;
    TakeFromRing(block);
    states_[block].keep.reset();
    if (on_reuse_) on_reuse_(block);
  }
  states_[block].num_references = 1;
  return BlockRef(this, block);
}

BlockRef BlockPool::Share(uint32_t block) {
  State& state = states_[block];
  if (state.num_references == 0) {
    LOCKSTEP_INVARIANT(state.keep.has_value(), "a free block without content is shared");
    TakeFromRing(block);
  }
  ++state.num_references;
  return BlockRef(this, block);
}

void BlockPool::Keep(uint32_t block, Reuse reuse) {
  LOCKSTEP_INVARIANT(states_[block].num_references > 0, "the content of a free block is kept");
  states_[block].keep = reuse;
}

void BlockPool::DropReference(uint32_t block) {
  State& state = states_[block];
  LOCKSTEP_INVARIANT(state.num_references > 0, "a block is freed twice");
  if (--state.num_references > 0) return;
  if (!state.keep.has_value()) {
    free_.push_back(block);
    return;
  }
  AppendToRing(block, *state.keep);
}

void BlockPool::AppendToRing(uint32_t block, Reuse reuse) {
  const uint32_t end = ring(reuse);
  const uint32_t last = states_[end].previous;
  states_[block].previous = last;
  states_[block].next = end;
  states_[last].next = states_[end].previous = block;
  ++num_kept_;
}

void BlockPool::TakeFromRing(uint32_t block) {
  const State& state = states_[block];
  states_[state.previous].next = state.next;
  states_[state.next].previous = state.previous;
  --num_kept_;
}

}  // namespace lockstep::server
