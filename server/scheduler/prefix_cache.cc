#include "server/scheduler/prefix_cache.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "server/scheduler/invariant.h"

namespace lockstep::server {

PrefixCache::PrefixCache(uint32_t num_blocks, int32_t block_size)
    : block_size_(static_cast<size_t>(block_size)),
      nodes_(num_blocks),
      tokens_(num_blocks * block_size_) {}

PrefixCache::Key PrefixCache::MakeKey(NodeId parent, absl::Span<const int32_t> tokens,
                                      absl::string_view salt) {
  // Abseil seeds its hash differently in each process, so that nobody can prepare collisions.
  return {parent, parent == kRoot ? absl::HashOf(tokens, salt) : absl::HashOf(tokens)};
}

bool PrefixCache::Holds(uint32_t block, const Key& key, absl::Span<const int32_t> tokens,
                        absl::string_view salt) const {
  const Node& node = nodes_[block];
  return node.key == key &&
         std::equal(tokens.begin(), tokens.end(), &tokens_[block * block_size_]) &&
         (key.parent != kRoot || node.salt == salt);
}

std::vector<uint32_t> PrefixCache::Find(absl::Span<const int32_t> tokens, absl::string_view salt,
                                        size_t max_blocks) const {
  std::vector<uint32_t> found;
  NodeId parent = kRoot;
  const size_t num_blocks = std::min(max_blocks, tokens.size() / block_size_);
  for (size_t i = 0; i < num_blocks; ++i) {
    const absl::Span<const int32_t> run = tokens.subspan(i * block_size_, block_size_);
    const Key key = MakeKey(parent, run, salt);
    const auto it = blocks_.find(key);
    if (it == blocks_.end() || !Holds(it->second, key, run, salt)) break;
    found.push_back(it->second);
    parent = nodes_[it->second].id;
  }
  return found;
}

std::optional<PrefixCache::NodeId> PrefixCache::Insert(uint32_t block, NodeId parent,
                                                       absl::Span<const int32_t> tokens,
                                                       absl::string_view salt) {
  Node& node = nodes_[block];
  LOCKSTEP_INVARIANT(node.id == kRoot, "a block is cached twice");
  if (parent != kRoot && !ids_.contains(parent)) return std::nullopt;
  const Key key = MakeKey(parent, tokens, salt);
  const auto [it, is_new] = blocks_.try_emplace(key, block);
  if (!is_new) {
    if (!Holds(it->second, key, tokens, salt)) return std::nullopt;
    return nodes_[it->second].id;
  }
  node.id = ++last_id_;
  ids_.insert(node.id);
  node.key = key;
  if (parent == kRoot) node.salt.assign(salt.data(), salt.size());
  std::copy(tokens.begin(), tokens.end(), &tokens_[block * block_size_]);
  return node.id;
}

void PrefixCache::Erase(uint32_t block) {
  Node& node = nodes_[block];
  if (node.id == kRoot) return;
  blocks_.erase(node.key);
  ids_.erase(node.id);
  node.id = kRoot;
  node.salt.clear();
}

}  // namespace lockstep::server
