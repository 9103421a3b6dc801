// How sequences share the blocks of prefixes: through the cache, and within groups.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/scheduler/scheduler.h"

namespace lockstep::server {
namespace {

std::vector<int32_t> KnownTokens(const Sequence& sequence) {
  std::vector<int32_t> tokens = sequence.request->prompt;
  tokens.insert(tokens.end(), sequence.answer.begin(), sequence.answer.end());
  return tokens;
}

}  // namespace

void Scheduler::SetCacheUse(Sequence& sequence) const {
  const EngineRequest& request = *sequence.request;
  const bool uses_cache = options_.enable_prefix_caching && !request.cache_bypass;
  sequence.fills_cache = (uses_cache || request.prompt_group != 0) &&
                         request.prompt.size() <= static_cast<size_t>(options_.max_shared_len);
  // What a request wants to know of its prompt's positions comes from running them.
  sequence.reads_cache = sequence.fills_cache && request.logits != worker::v1::LOGITS_ALL &&
                         !request.num_prompt_logprobs.has_value();
  // The first letter keeps a client's salt from naming a group.
  sequence.cache_salt =
      uses_cache ? absl::StrCat("s", request.cache_salt) : absl::StrCat("g", request.prompt_group);
}

std::vector<uint32_t> Scheduler::FindCached(const Sequence& sequence) const {
  if (!sequence.reads_cache || !started()) return {};
  // The last token is run in any case: its logits are what comes next.
  const int32_t limit = std::min(sequence.num_known_tokens() - 1, options_.max_shared_len);
  const auto max_blocks = static_cast<size_t>(limit / options_.block_size);
  if (sequence.answer.empty()) {
    return cache_->Find(sequence.request->prompt, sequence.cache_salt, max_blocks);
  }
  return cache_->Find(KnownTokens(sequence), sequence.cache_salt, max_blocks);
}

void Scheduler::FillCache(Sequence& sequence, int32_t end) {
  if (sequence.request->prompt_group != 0) {
    PromptGroup& group = groups_.at(sequence.request->prompt_group);
    const int32_t num_prompt_tokens = sequence.num_prompt_tokens();
    // Up to the last block that the others cannot share.
    if (group.leader == sequence.handle &&
        end >= (num_prompt_tokens - 1) / options_.block_size * options_.block_size) {
      group.prompt_done = true;
    }
  }
  if (!sequence.fills_cache) return;
  const std::vector<int32_t>& prompt = sequence.request->prompt;
  const auto block_size = static_cast<size_t>(options_.block_size);
  const auto limit = static_cast<size_t>(std::min(end, options_.max_shared_len));
  std::vector<int32_t> tokens;
  while (sequence.last_cached_node.has_value() &&
         (sequence.num_cached_blocks + 1) * block_size <= limit) {
    const size_t begin = sequence.num_cached_blocks * block_size;
    tokens.clear();
    for (size_t i = begin; i < begin + block_size; ++i) {
      tokens.push_back(i < prompt.size() ? prompt[i] : sequence.answer[i - prompt.size()]);
    }
    const uint32_t block = sequence.blocks[sequence.num_cached_blocks].block();
    // Another sequence may have cached the same tokens; what follows is then found after its block.
    sequence.last_cached_node =
        cache_->Insert(block, *sequence.last_cached_node, tokens, sequence.cache_salt);
    ++sequence.num_cached_blocks;
    if (cache_->node(block) == PrefixCache::kRoot) continue;
    // Nobody finds a group's own blocks once the group has gone.
    const bool in_public = sequence.cache_salt.front() == 's';
    blocks_->Keep(block, in_public ? BlockPool::Reuse::kLast : BlockPool::Reuse::kFirst);
  }
}

void Scheduler::ForgetCached(const Sequence& sequence) {
  const std::vector<int32_t> tokens = KnownTokens(sequence);
  for (uint32_t block : cache_->Find(tokens, sequence.cache_salt, tokens.size())) {
    cache_->Erase(block);
  }
}

void Scheduler::JoinGroup(const Sequence& sequence) {
  if (sequence.request->prompt_group != 0) ++groups_[sequence.request->prompt_group].num_members;
}

void Scheduler::LeaveGroup(const Sequence& sequence) {
  const auto it = groups_.find(sequence.request->prompt_group);
  if (it == groups_.end()) return;
  if (it->second.leader == sequence.handle) it->second.leader = 0;
  if (--it->second.num_members == 0) groups_.erase(it);
}

bool Scheduler::HeldByGroup(const Sequence& sequence) {
  if (sequence.request->prompt_group == 0 || !sequence.fills_cache) return false;
  PromptGroup& group = groups_.at(sequence.request->prompt_group);
  if (group.prompt_done || sequence.num_prompt_tokens() <= options_.block_size) return false;
  if (group.leader == 0) group.leader = sequence.handle;
  return sequence.reads_cache && group.leader != sequence.handle;
}

}  // namespace lockstep::server
