#include "server/admission/number_source.h"

#include <random>

namespace lockstep::server {

NumberSource::NumberSource() {
  std::random_device device;
  next_ = (uint64_t{device()} << 32) | device();
}

uint64_t NumberSource::Next() {
  // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): a
  // bijection of a counter.
  uint64_t z =
      next_.fetch_add(0x9E3779B97F4A7C15u, std::memory_order_relaxed) + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace lockstep::server
