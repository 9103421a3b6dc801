// The KV cache's blocks, by number. The keys and values themselves are on the workers; the frontend
// decides who has which block.
#ifndef LOCKSTEP_SERVER_SCHEDULER_BLOCK_POOL_H_
#define LOCKSTEP_SERVER_SCHEDULER_BLOCK_POOL_H_

#include <cstdint>
#include <functional>
#include <optional>
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

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, uint32_t block) : pool_(pool), block_(block) {}

  BlockPool* pool_;  // null: moved from
  uint32_t block_;
};

// The blocks of one sequence, in order of position: block i holds positions [i * block_size, (i +
// 1) * block_size).
using BlockTable = std::vector<BlockRef>;

// Gives up a sequence's blocks, the last first: of the blocks whose content is kept, those that
// need the others are then reused before them.
void ReleaseBlocks(BlockTable& blocks);

// Counts references and keeps the free blocks. Not thread-safe.
//
// A free block may have content worth keeping. Blocks without are handed out first, latest first,
// so that a lightly loaded pool touches little memory; then those with content, those that are
// marked so before the others, and of either the one that was released longest ago first.
class BlockPool {
 public:
  // `on_reuse` is called with each block whose kept content is lost because the block is handed
  // out.
  explicit BlockPool(uint32_t num_blocks, std::function<void(uint32_t)> on_reuse = nullptr);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  // Every reference must be gone.
  ~BlockPool();

  // The pool must have a free block.
  BlockRef Allocate();

  // Another reference to a block that is referenced, or whose content is kept.
  BlockRef Share(uint32_t block);

  // From now on the content of this referenced block is kept while it is free.
  enum class Reuse {
    kLast,
    kFirst,  // before all that is kept without this mark
  };
  void Keep(uint32_t block, Reuse reuse);

  uint32_t num_blocks() const { return static_cast<uint32_t>(states_.size() - 2); }
  // Blocks without references, whether or not their content is kept.
  uint32_t num_free() const { return static_cast<uint32_t>(free_.size()) + num_kept_; }
  uint32_t num_used() const { return num_blocks() - num_free(); }
  uint32_t num_references(uint32_t block) const { return states_[block].num_references; }

 private:
  friend class BlockRef;
  struct State {
    uint32_t num_references = 0;
    std::optional<Reuse> keep;
    // Neighbours in the ring of blocks kept so, while keep is set and there is no reference.
    uint32_t previous = 0;
    uint32_t next = 0;
  };
  void DropReference(uint32_t block);
  // The index in states_ at which a ring begins and ends, and which is no block: its `next` is the
  // first to hand out.
  uint32_t ring(Reuse reuse) const { return num_blocks() + (reuse == Reuse::kFirst ? 0 : 1); }
  void AppendToRing(uint32_t block, Reuse reuse);
  void TakeFromRing(uint32_t block);

  const std::function<void(uint32_t)> on_reuse_;
  std::vector<State> states_;   // [num_blocks + 2]: see ring()
  std::vector<uint32_t> free_;  // without content; the next to hand out is last
  uint32_t num_kept_ = 0;       // in the rings
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_BLOCK_POOL_H_
