#include "server/scheduler/block_pool.h"

#include "server/scheduler/invariant.h"

namespace lockstep::server {

BlockRef::~BlockRef() {
  if (pool_ != nullptr) pool_->DropReference(block_);
}

BlockRef BlockRef::Share() const {
  pool_->AddReference(block_);
  return BlockRef(pool_, block_);
}

BlockPool::BlockPool(uint32_t num_blocks) : num_references_(num_blocks, 0) {
  free_.reserve(num_blocks);
  for (uint32_t block = num_blocks; block > 0; --block) free_.push_back(block - 1);
}

BlockPool::~BlockPool() {
  LOCKSTEP_INVARIANT(num_used() == 0, "a block pool is destroyed while blocks are referenced");
}

BlockRef BlockPool::Allocate() {
  LOCKSTEP_INVARIANT(!free_.empty(), "a block is taken from a pool that has none free");
  const uint32_t block = free_.back();
  free_.pop_back();
  num_references_[block] = 1;
  return BlockRef(this, block);
}

void BlockPool::DropReference(uint32_t block) {
  LOCKSTEP_INVARIANT(num_references_[block] > 0, "a block is freed twice");
  if (--num_references_[block] == 0) free_.push_back(block);
}

}  // namespace lockstep::server
