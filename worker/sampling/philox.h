#ifndef LOCKSTEP_WORKER_SAMPLING_PHILOX_H_
#define LOCKSTEP_WORKER_SAMPLING_PHILOX_H_

#include <array>
#include <cstdint>

namespace lockstep::worker {

// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3" (SC 2011): 128 random bits as a pure function of a key and a counter.
std::array<uint32_t, 4> Philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key);

// The random number in [0, 1) with 53 bits that chooses the token at `position` of a sequence with
// this seed. Depends on nothing else, so that a sequence continues with the same numbers after a
// preemption, on another machine or in another batch.
double UniformAt(uint64_t seed, uint64_t position);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_PHILOX_H_
