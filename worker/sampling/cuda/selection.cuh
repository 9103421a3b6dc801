// Thresholds without sorting: a block narrows a key down digit by digit, from the highest. Bins are
// counted in integers, so that the order of additions does not matter.
#ifndef LOCKSTEP_WORKER_SAMPLING_CUDA_SELECTION_CUH_
#define LOCKSTEP_WORKER_SAMPLING_CUDA_SELECTION_CUH_

#include "worker/sampling/cuda/block.cuh"
#include "worker/sampling/cuda/weights.cuh"

namespace lockstep::worker::cuda {

// As Block::FirstAbove, over kBins values: value(bin).
template <typename Value>
__device__ Block::Place FirstBinAbove(const Block& block, const Value& value, double target) {
  const int first = 2 * block.thread();
  const Block::Place pair = block.FirstAbove(value(first) + value(first + 1), target);
  const int bin = 2 * pair.thread;
  const double in_first = value(bin);
  if (pair.before + in_first > target || value(bin + 1) == 0.0) return {bin, pair.before};
  return {bin + 1, pair.before + in_first};
}

struct Kth {
  float value;
  int num_above;
};

// The k-th largest of `row`, 1 <= k <= size.
__device__ inline Kth FindKthLargest(const Block& block, const float* row, int size, int k) {
  constexpr int kShifts[] = {21, 10, 0};
  unsigned* bins = block.memory().low_bins;
  unsigned prefix = 0;
  unsigned known = 0;  // the bits of `prefix` that are
  int num_above = 0;
  for (const int shift : kShifts) {
    __syncthreads();
    block.ForEach(kBins, [&](int bin) { bins[bin] = 0; });
    __syncthreads();
    // From the largest digit down.
    block.ForEach(size, [&](int i) {
      const unsigned key = OrderedKey(row[i]);
      if ((key & known) == prefix) atomicAdd(&bins[~(key & ~known) >> shift & (kBins - 1)], 1U);
    });
    __syncthreads();
    const Block::Place place = FirstBinAbove(
        block, [&](int bin) { return static_cast<double>(bins[bin]); }, k - 1 - num_above);
    num_above += static_cast<int>(place.before);
    prefix |= (~static_cast<unsigned>(place.thread) & (kBins - 1)) << shift & ~known;
    known = ~0U << shift;
  }
  return {ValueOfKey(prefix), num_above};
}

// Where a prefix of tokens ends, the lightest first and of equals the lower ids.
struct LightTokens {
  float weight;  // lighter ones are in it,
  int num_ties;  // and so many of this weight
};

// The longest such prefix that weighs `removable` at most and lacks one token at least. Tokens of
// weight 0 do not count. Weights are at most 1, and 1 is among them.
__device__ inline LightTokens FindRemovable(const Block& block, const float* weights, int size,
                                            double removable) {
  constexpr int kShifts[] = {19, 8, 0};
  constexpr int kHalfMantissa = 12;
  unsigned* low = block.memory().low_bins;
  unsigned* high = block.memory().high_bins;
  unsigned prefix = 0;
  unsigned known = 0;
  double mass = 0.0;  // of the bin that was found
  for (const int shift : kShifts) {
    __syncthreads();
    block.ForEach(kBins, [&](int bin) { low[bin] = high[bin] = 0; });
    __syncthreads();
    block.ForEach(size, [&](int i) {
      const unsigned bits = __float_as_uint(weights[i]);
      if (bits == 0 || (bits & known) != prefix) return;
      const unsigned bin = (bits & ~known) >> shift;
      const unsigned mantissa = (bits & 0x7FFFFFU) | 0x800000U;
      atomicAdd(&low[bin], mantissa & ((1U << kHalfMantissa) - 1));
      atomicAdd(&high[bin], mantissa >> kHalfMantissa);
    });
    __syncthreads();
    // A bin's weights have one exponent, so that the sum of their mantissas says it all.
    const auto mass_of = [&](int bin) {
      const auto exponent = static_cast<int>((prefix | static_cast<unsigned>(bin) << shift) >> 23);
      return ldexp(static_cast<double>(high[bin]) * (1 << kHalfMantissa) + low[bin],
                   exponent - 127 - 23);
    };
    const Block::Place place = FirstBinAbove(block, mass_of, removable);
    removable -= place.before;
    mass = mass_of(place.thread);
    prefix |= static_cast<unsigned>(place.thread) << shift;
    known = ~0U << shift;
  }
  const float weight = __uint_as_float(prefix);
  double num_ties = floor(removable / weight);
  if (num_ties * weight > removable) num_ties -= 1.0;  // the division rounded up
  const double num_equal = mass / weight;              // exact
  return {weight, static_cast<int>(fmax(0.0, fmin(num_ties, num_equal - 1.0)))};
}

// The smallest of the values at which the weights of those up to it reach `mass`; any above all of
// them where none does. Values are not negative; what has no weight does not count.
__device__ inline float FindThreshold(const Block& block, const float* values, const float* weights,
                                      int size, double mass) {
  // The largest key that leaves less than `mass` below it, two bits at a time.
  unsigned prefix = 0;
  for (int shift = 30; shift >= 0; shift -= 2) {
    double below[3] = {};
    block.ForEach(size, [&](int i) {
      const unsigned key = __float_as_uint(values[i]);
      for (unsigned digit = 0; digit < 3; ++digit) {
        if (key < prefix + ((digit + 1) << shift)) below[digit] += weights[i];
      }
    });
    unsigned digits = 0;  // that leave too little
    for (const double sum : below) digits += block.Sum(sum) < mass ? 1 : 0;
    prefix += digits << shift;
  }
  return __uint_as_float(min(prefix, __float_as_uint(kPlusInfinity)));
}

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_SAMPLING_CUDA_SELECTION_CUH_
