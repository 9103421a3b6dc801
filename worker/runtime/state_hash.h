#ifndef LOCKSTEP_WORKER_RUNTIME_STATE_HASH_H_
#define LOCKSTEP_WORKER_RUNTIME_STATE_HASH_H_

#include <cstdint>

namespace lockstep::worker {

// A running 64-bit hash of everything that changed the slots, in order. Since the state is a
// function of its changes, equal hashes say that ranks agree on all slots, tokens and block tables,
// at the cost of the changes alone. Not cryptographic.
class StateHash {
 public:
  void Add(uint64_t value) {
    // One round of SplitMix64 (Steele, Lea and Flood 2014).
    uint64_t x = state_ + 0x9E3779B97F4A7C15 + value;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    state_ = x ^ (x >> 31);
  }

  // The length is part of the hash.
  template <typename Container>
  void AddAll(const Container& values) {
    Add(values.size());
    for (const auto& value : values) Add(static_cast<uint64_t>(value));
  }

  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_STATE_HASH_H_
