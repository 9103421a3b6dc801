// What the threads of a block find out together about a row of values, alike on every run: nothing
// depends on the order in which threads come. All of a block's threads call all of it.
#ifndef LOCKSTEP_WORKER_SAMPLING_CUDA_BLOCK_CUH_
#define LOCKSTEP_WORKER_SAMPLING_CUDA_BLOCK_CUH_

#include <type_traits>

#include "worker/kernels/cuda/device.cuh"
#include "worker/sampling/cuda/launchers.h"

namespace lockstep::worker::cuda {

inline constexpr int kRowThreads = 1024;
inline constexpr int kRowWarps = kRowThreads / kWarpSize;
static_assert(kRowWarps == kWarpSize);  // a warp reduces what the warps found

// A radix digit of up to 11 bits.
inline constexpr int kBins = 2 * kRowThreads;
// Sums are taken by chunks of so many elements (weights.cuh), a thread for each in the end.
inline constexpr int kChunk = 1024;
inline constexpr int kMaxChunks = kMaxSampledVocab / kChunk;
static_assert(kChunk == kRowThreads && kMaxChunks <= kRowThreads);

struct BlockMemory {  // shared
  double doubles[kRowWarps];
  unsigned long long words[kRowWarps];
  int integers[kRowWarps];
  double before;
  int index;
  double chunk_sums[kMaxChunks];
  unsigned low_bins[kBins];
  unsigned high_bins[kBins];
};

class Block {
 public:
  __device__ explicit Block(BlockMemory& memory)
      : memory_(memory),
        thread_(static_cast<int>(threadIdx.x)),
        lane_(thread_ % kWarpSize),
        warp_(thread_ / kWarpSize) {}

  __device__ BlockMemory& memory() const { return memory_; }
  __device__ int thread() const { return thread_; }
  __device__ int lane() const { return lane_; }

  // Calls use(i) for every i of [0, size).
  template <typename Use>
  __device__ void ForEach(int size, const Use& use) const {
    for (int i = thread_; i < size; i += kRowThreads) use(i);
  }

  // `combine` is commutative and associative, but for the rounding of sums.
  template <typename T, typename Combine>
  __device__ T Reduce(T value, const Combine& combine) const {
    value = ReduceWarp(value, combine);
    T* partials = Partials<T>();
    __syncthreads();
    if (lane_ == 0) partials[warp_] = value;
    __syncthreads();
    return ReduceWarp(partials[lane_], combine);
  }
  template <typename T>
  __device__ T Sum(T value) const {
    return Reduce(value, [](T a, T b) { return a + b; });
  }
  template <typename T>
  __device__ T Max(T value) const {
    return Reduce(value, [](T a, T b) { return a < b ? b : a; });
  }
  template <typename T>
  __device__ T Min(T value) const {
    return Reduce(value, [](T a, T b) { return b < a ? b : a; });
  }

  // The sum of the values of the threads before this one.
  __device__ double SumBefore(double value) const {
    double inclusive = value;
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const double other = __shfl_up_sync(kFullWarp, inclusive, static_cast<unsigned>(offset));
      if (lane_ >= offset) inclusive += other;
    }
    const double previous = __shfl_up_sync(kFullWarp, inclusive, 1U);
    __syncthreads();
    if (lane_ == kWarpSize - 1) memory_.doubles[warp_] = inclusive;
    __syncthreads();
    const double before_warp = ReduceWarp(lane_ < warp_ ? memory_.doubles[lane_] : 0.0,
                                          [](double a, double b) { return a + b; });
    return before_warp + (lane_ == 0 ? 0.0 : previous);
  }

  // The first thread at which the cumulative sum of the threads' values exceeds `target`, else the
  // last one with a value above 0; and the sum before it. Values and target are not negative.
  struct Place {
    int thread;
    double before;
  };
  __device__ Place FirstAbove(double value, double target) const {
    const double before = SumBefore(value);
    const bool is_above = value > 0.0 && before + value > target;
    int found = Min(is_above ? thread_ : kRowThreads);
    if (found == kRowThreads) found = Max(value > 0.0 ? thread_ : 0);
    if (thread_ == found) memory_.before = before;
    __syncthreads();
    return {found, memory_.before};
  }

  // Calls emit(place, i) for every i of [0, size) that matches; places count up with i from 0.
  // Returns how many there are.
  template <typename Matches, typename Emit>
  __device__ int Compact(int size, const Matches& matches, const Emit& emit) const {
    const int per_warp = (size + kRowThreads - 1) / kRowThreads * kWarpSize;
    const int begin = min(warp_ * per_warp, size);
    const int end = min(begin + per_warp, size);
    int count = 0;
    for (int i = begin + lane_; i < end; i += kWarpSize) count += matches(i) ? 1 : 0;
    const auto add = [](int a, int b) { return a + b; };
    count = ReduceWarp(count, add);
    __syncthreads();
    if (lane_ == 0) memory_.integers[warp_] = count;
    __syncthreads();
    const int of_lane = memory_.integers[lane_];
    int place = ReduceWarp(lane_ < warp_ ? of_lane : 0, add);
    const unsigned lanes_before = (1U << lane_) - 1U;
    for (int base = begin; base < end && count > 0; base += kWarpSize) {
      const int i = base + lane_;
      const bool is_match = i < end && matches(i);
      const unsigned matching = __ballot_sync(kFullWarp, is_match);
      if (is_match) emit(place + __popc(matching & lanes_before), i);
      place += __popc(matching);
    }
    return ReduceWarp(of_lane, add);
  }

  // The index of the match number `number`, from 0; `size` where there are fewer.
  template <typename Matches>
  __device__ int FindMatch(int size, const Matches& matches, int number) const {
    __syncthreads();
    if (thread_ == 0) memory_.index = size;
    Compact(size, matches, [&](int place, int i) {
      if (place == number) memory_.index = i;
    });
    __syncthreads();
    return memory_.index;
  }

 private:
  template <typename T, typename Combine>
  __device__ static T ReduceWarp(T value, const Combine& combine) {
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
      value = combine(value, __shfl_xor_sync(kFullWarp, value, offset));
    }
    return value;
  }
  template <typename T>
  __device__ T* Partials() const {
    if constexpr (std::is_same_v<T, double>) {
      return memory_.doubles;
    } else if constexpr (std::is_same_v<T, int>) {
      return memory_.integers;
    } else {
      return memory_.words;
    }
  }

  BlockMemory& memory_;
  const int thread_;
  const int lane_;
  const int warp_;
};

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_SAMPLING_CUDA_BLOCK_CUH_
