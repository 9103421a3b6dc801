// Automatic prefix caching: which blocks of the KV cache hold which tokens, so that a sequence that
// begins like an earlier one takes over its blocks instead of running the tokens again.
#ifndef LOCKSTEP_SERVER_SCHEDULER_PREFIX_CACHE_H_
#define LOCKSTEP_SERVER_SCHEDULER_PREFIX_CACHE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::server {

// A tree of full blocks: a node is a block's tokens after those of its ancestors, because keys and
// values depend on all tokens before them. Found by a hash of (parent, tokens), and then compared
// token by token: a collision costs a miss, never a wrong block. Trees of different salts are
// apart. Not thread-safe.
//
// Holds no references: the block pool keeps the content of unreferenced blocks until it needs them,
// and says so by Erase().
class PrefixCache {
 public:
  // A node of the tree. Never reused, so that what was below an erased node is not found any more.
  using NodeId = uint64_t;
  static constexpr NodeId kRoot = 0;

  PrefixCache(uint32_t num_blocks, int32_t block_size);

  // The blocks of the longest cached prefix of `tokens`, in order; whole blocks only, at most
  // `max_blocks`.
  std::vector<uint32_t> Find(absl::Span<const int32_t> tokens, absl::string_view salt,
                             size_t max_blocks) const;

  // The node of a cached block; kRoot: it is not cached.
  NodeId node(uint32_t block) const { return nodes_[block].id; }

  // From now on `block` is found after `parent` for these tokens [block_size], unless another block
  // is already, which stays. The node that is found for them, `block`'s or the other's; none, with
  // nothing changed, where other tokens have the same hash, or the parent has been erased, so that
  // nothing would be found behind it. `salt` counts where the parent is the root. The block must
  // not be cached already.
  std::optional<NodeId> Insert(uint32_t block, NodeId parent, absl::Span<const int32_t> tokens,
                               absl::string_view salt);

  // `block` is cached no more; ignored where it is not.
  void Erase(uint32_t block);

  size_t num_cached() const { return blocks_.size(); }

 private:
  struct Key {
    NodeId parent;
    uint64_t hash;  // of the tokens and the salt
    bool operator==(const Key& other) const { return parent == other.parent && hash == other.hash; }
    template <typename H>
    friend H AbslHashValue(H state, const Key& key) {
      return H::combine(std::move(state), key.parent, key.hash);
    }
  };
  struct Node {
    NodeId id = kRoot;  // kRoot: the block is not cached
    Key key{};
    std::string salt;  // below the root only
  };

  static Key MakeKey(NodeId parent, absl::Span<const int32_t> tokens, absl::string_view salt);
  bool Holds(uint32_t block, const Key& key, absl::Span<const int32_t> tokens,
             absl::string_view salt) const;

  const size_t block_size_;
  NodeId last_id_ = kRoot;
  std::vector<Node> nodes_;                    // [num_blocks]
  std::vector<int32_t> tokens_;                // [num_blocks, block_size]
  absl::flat_hash_map<Key, uint32_t> blocks_;  // of the cached nodes
  absl::flat_hash_set<NodeId> ids_;            // likewise
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_PREFIX_CACHE_H_
