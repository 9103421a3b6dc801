// The KV cache's blocks, by number. The keys and values themselves are on the workers; the frontend
// decides who has which block.
#ifndef LOCKSTEP_SERVER_SCHEDULER_BLOCK_POOL_H_
#define LOCKSTEP_SERVER_SCHEDULER_BLOCK_POOL_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace lockstep::server {

class BlockPool;

// One reference to one block; the block is free when its last reference is gone. Must not outlive
// the pool.
class BlockRef {
 public:
  BlockRef(BlockRef&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), block_(other.block_) {}
  BlockRef& operator=(BlockRef&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(block_, other.block_);
    return *this;
  }
  BlockRef(const BlockRef&) = delete;
  BlockRef& operator=(const BlockRef&) = delete;
  ~BlockRef();

  uint32_t block() const { return block_; }
  // A second reference to the same block.
  BlockRef Share() const;

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, uint32_t block) : pool_(pool), block_(block) {}

  BlockPool* pool_;  // null: moved from
  uint32_t block_;
};

// The blocks of one sequence, in order of position: block i holds positions [i * block_size, (i +
// 1) * block_size).
using BlockTable = std::vector<BlockRef>;

// Counts references and keeps the free blocks. Not thread-safe.
//
// Free blocks without content are reused latest first, so that a lightly loaded pool touches little
// memory. A cache of prefixes holds references of its own to the blocks that it keeps, and gives
// them up when num_free() runs low.
class BlockPool {
 public:
  explicit BlockPool(uint32_t num_blocks);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  // Every reference must be gone.
  ~BlockPool();

  // The pool must have a free block.
  BlockRef Allocate();

  uint32_t num_blocks() const { return static_cast<uint32_t>(num_references_.size()); }
  uint32_t num_free() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t num_used() const { return num_blocks() - num_free(); }
  uint32_t num_references(uint32_t block) const { return num_references_[block]; }

 private:
  friend class BlockRef;
  void AddReference(uint32_t block) { ++num_references_[block]; }
  void DropReference(uint32_t block);

  std::vector<uint32_t> num_references_;  // [num_blocks]
  std::vector<uint32_t> free_;            // the next to hand out is last
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_BLOCK_POOL_H_
