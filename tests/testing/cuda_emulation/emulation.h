// CUDA's names for a host compiler, so that the kernels of worker/kernels/cuda run on a CPU: every
// thread of a block is a fiber, blocks run one after another. What is checked that way is the
// kernels' arithmetic, indexing and barriers; not their speed, and not what a compiler for GPUs
// makes of them. Include it before the kernels (-include).
//
// Every thread of the host has a GPU of its own, so that GPUs may wait for each other. A barrier
// that not all threads of a block reach aborts with a message.
#ifndef LOCKSTEP_TESTS_TESTING_CUDA_EMULATION_EMULATION_H_
#define LOCKSTEP_TESTS_TESTING_CUDA_EMULATION_EMULATION_H_

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
// A GPU's blocks run one after another, so one copy serves them all. Its content stays, as on a GPU
// it is anything.
#define __shared__ static thread_local

struct dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
  dim3() = default;
  explicit dim3(unsigned x_size, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
};

namespace lockstep::testing::emulation {

inline constexpr int kWarpSize = 32;

// The order in which a block's threads run between barriers, on this host thread's GPU. A kernel
// that lacks a barrier computes something else in one of the two.
enum class ThreadOrder { kAscending, kDescending };
void SetThreadOrder(ThreadOrder order);

// Whether this host thread's GPU has products of warpgroups (warpgroup.cuh); it has none at first.
void SetHasWarpgroups(bool has_warpgroups);
bool HasWarpgroups();

// Runs `body` as every thread of every block.
void Run(dim3 grid, dim3 block, const std::function<void()>& body);

// Of the running thread; blocks have one dimension.
unsigned CurrentThread();
dim3 CurrentBlock();
dim3 CurrentGrid();

// Waits for all threads of the block, or of the warp.
void SynchronizeBlock();
void SynchronizeWarp();

// Lets the block's other threads run, and other GPUs: to be called in a loop that waits for them.
void LetOthersRun();

// Every thread of the warp gives one value of up to 64 bytes and sees those of all.
const void* ExchangeInWarp(const void* value, size_t size, int lane);
void FinishExchange();

// Copies that are under way, in groups; see WaitForCopies.
void BeginCopy(void* to, const void* from, size_t size);
void CommitCopyGroup();
void WaitForCopyGroups(size_t num_pending);

template <typename T>
T Shuffle(T value, int source_lane) {
  const auto lane = static_cast<int>(CurrentThread() % kWarpSize);
  (void)ExchangeInWarp(&value, sizeof(T), lane);
  T result;
  std::memcpy(&result, ExchangeInWarp(nullptr, sizeof(T), source_lane), sizeof(T));
  FinishExchange();
  return result;
}

}  // namespace lockstep::testing::emulation

#define threadIdx (dim3(lockstep::testing::emulation::CurrentThread(), 0, 0))
#define blockIdx (lockstep::testing::emulation::CurrentBlock())
#define gridDim (lockstep::testing::emulation::CurrentGrid())
#define __syncthreads() lockstep::testing::emulation::SynchronizeBlock()
#define __syncwarp() lockstep::testing::emulation::SynchronizeWarp()

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  using namespace lockstep::testing::emulation;
  return Shuffle(value, static_cast<int>(CurrentThread() % kWarpSize) ^ mask);
}

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return lockstep::testing::emulation::Shuffle(value, lane);
}

// Lanes without one so far below them keep their own value.
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned offset) {
  using namespace lockstep::testing::emulation;
  const auto lane = static_cast<int>(CurrentThread() % kWarpSize);
  const int source = lane - static_cast<int>(offset);
  return Shuffle(value, source < 0 ? lane : source);
}

inline unsigned __ballot_sync(unsigned, int predicate) {
  using namespace lockstep::testing::emulation;
  const bool own = predicate != 0;
  (void)ExchangeInWarp(&own, sizeof(own), static_cast<int>(CurrentThread() % kWarpSize));
  unsigned ballot = 0;
  for (int lane = 0; lane < kWarpSize; ++lane) {
    bool is_set;
    std::memcpy(&is_set, ExchangeInWarp(nullptr, sizeof(is_set), lane), sizeof(is_set));
    ballot |= static_cast<unsigned>(is_set) << lane;
  }
  FinishExchange();
  return ballot;
}

// No thread of the GPU runs while another is in one of these.
inline unsigned atomicAdd(unsigned* address, unsigned value) {
  return std::exchange(*address, *address + value);
}
inline unsigned atomicOr(unsigned* address, unsigned value) {
  return std::exchange(*address, *address | value);
}
inline unsigned atomicExch(unsigned* address, unsigned value) {
  return std::exchange(*address, value);
}

inline void __threadfence() {}

inline int __popc(unsigned bits) { return std::popcount(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }

// Each rounds by itself, as long as the compiler is not told to contract (-ffp-contract).
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }

using std::min;

namespace lockstep::worker::cuda {

template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, void*,
            const Arguments&... arguments) {
  lockstep::testing::emulation::Run(grid, block, [&] { kernel(arguments...); });
}

template <int kShared = 0, typename... Parameters, typename... Arguments>
void LaunchOverlapping(void (*kernel)(Parameters...), dim3 grid, dim3 block, void* stream,
                       const Arguments&... arguments) {
  Launch(kernel, grid, block, stream, arguments...);
}

// Kernels run one after another.
inline void LetNextKernelBegin() {}
inline void AwaitEarlierKernels() {}

// Those that not every GPU has are the ones that multiply as warpgroups.
template <typename... Parameters>
bool HasBody(void (*)(Parameters...)) {
  return lockstep::testing::emulation::HasWarpgroups();
}

template <typename T>
inline constexpr int kDynamicBytes = static_cast<int>(sizeof(T));
template <typename T>
T& DynamicShared() {
  __shared__ T content;
  return content;
}

inline float Exp2(float x) { return std::exp2(x); }
template <typename T>
T LoadOnce(const T* address) {
  return *address;
}

inline void Prefetch(const void*) {}

inline void CopyAsync(void* to, const void* from, bool is_wanted) {
  lockstep::testing::emulation::BeginCopy(to, is_wanted ? from : nullptr, 16);
}
inline void CommitCopies() { lockstep::testing::emulation::CommitCopyGroup(); }
template <int kPending>
void WaitForCopies() {
  lockstep::testing::emulation::WaitForCopyGroups(kPending);
}

// See peer_all_reduce.cu.
inline void StoreRelease(uint32_t* address, uint32_t value) {
  std::atomic_ref<uint32_t>(*address).store(value, std::memory_order_release);
}
inline uint32_t LoadAcquire(uint32_t* address) {
  lockstep::testing::emulation::LetOthersRun();
  return std::atomic_ref<uint32_t>(*address).load(std::memory_order_acquire);
}

// See matrix_units.cuh for the fragments.
struct MatrixOperands {
  uint32_t a[4];
  uint32_t b[2];
};

template <typename T>
float Half16(uint32_t bits, int index) {
  T pair[2];
  std::memcpy(pair, &bits, sizeof(bits));
  return static_cast<float>(pair[index]);
}

template <typename T>
uint32_t PackPair(float low, float high) {
  const T pair[2] = {static_cast<T>(low), static_cast<T>(high)};
  uint32_t bits;
  std::memcpy(&bits, pair, sizeof(bits));
  return bits;
}

inline const MatrixOperands* OperandsOf(int lane) {
  return static_cast<const MatrixOperands*>(
      lockstep::testing::emulation::ExchangeInWarp(nullptr, sizeof(MatrixOperands), lane));
}

// c += a · right(k, column), for 16 k. To be called between an exchange of operands and its end.
template <typename T, typename Right>
void MultiplyFragments(float (&c)[4], const Right& right) {
  const auto lane = static_cast<int>(lockstep::testing::emulation::CurrentThread() % 32);
  for (int e = 0; e < 4; ++e) {
    const int row = lane / 4 + e / 2 * 8;
    const int column = lane % 4 * 2 + e % 2;
    float sum = 0.0F;
    for (int k = 0; k < 16; ++k) {
      const uint32_t left = OperandsOf(row % 8 * 4 + k % 8 / 2)->a[k / 8 * 2 + row / 8];
      sum += Half16<T>(left, k % 2) * right(k, column);
    }
    c[e] += sum;
  }
}

inline void ExchangeOperands(const MatrixOperands& own) {
  namespace emulation = lockstep::testing::emulation;
  emulation::ExchangeInWarp(&own, sizeof(own), static_cast<int>(emulation::CurrentThread() % 32));
}

template <typename T>
void MultiplyAccumulate(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ExchangeOperands({{a[0], a[1], a[2], a[3]}, {b0, b1}});
  MultiplyFragments<T>(c, [](int k, int column) {
    return Half16<T>(OperandsOf(column * 4 + k % 8 / 2)->b[k / 8], k % 2);
  });
  lockstep::testing::emulation::FinishExchange();
}

// See warpgroup.cuh. Products are done when they begin.
#define LOCKSTEP_HAS_WARPGROUPS 1
inline void ShowToMatrixUnits() {}
template <typename Sums>
void BeginProducts(const Sums&) {}
template <typename Sums>
void FinishProducts(const Sums&) {}

template <typename Tile>
void MultiplyRows(float (*c)[4], Tile& a, Tile& b, int step) {
  const auto thread = static_cast<int>(lockstep::testing::emulation::CurrentThread());
  const auto element = [step](Tile& tile, int row, int k) {
    return static_cast<float>(tile.Piece(row, step * 2 + k / 8)[k % 8]);
  };
  for (int n = 0; n < 8; ++n) {
    for (int e = 0; e < 4; ++e) {
      const int row = thread / 32 % 4 * 16 + thread % 32 / 4 + e / 2 * 8;
      const int column = n * 8 + thread % 4 * 2 + e % 2;
      for (int k = 0; k < 16; ++k) c[n][e] += element(a, row, k) * element(b, column, k);
    }
  }
}

template <typename Tile>
void MultiplyColumns(float (*c)[4], const uint32_t (&a)[4], Tile& tile, int part, int step) {
  using T = std::remove_reference_t<decltype(*tile.Piece(0, 0))>;
  ExchangeOperands({{a[0], a[1], a[2], a[3]}, {}});
  for (int n = 0; n < 8; ++n) {
    MultiplyFragments<T>(c[n], [&](int k, int column) {
      return static_cast<float>(tile.Piece(step * 16 + k, part * 8 + n)[column]);
    });
  }
  lockstep::testing::emulation::FinishExchange();
}

inline void LoadMatrices(uint32_t (&registers)[4], const void* row, bool is_transposed = false) {
  namespace emulation = lockstep::testing::emulation;
  const auto lane = static_cast<int>(emulation::CurrentThread() % 32);
  emulation::ExchangeInWarp(&row, sizeof(row), lane);
  for (int matrix = 0; matrix < 4; ++matrix) {
    const auto element = [&](int r, int column) {
      const char* begin;
      std::memcpy(&begin, emulation::ExchangeInWarp(nullptr, sizeof(row), matrix * 8 + r),
                  sizeof(begin));
      uint16_t bits;
      std::memcpy(&bits, begin + column * 2, sizeof(bits));
      return bits;
    };
    const int g = lane / 4;
    const int t = lane % 4 * 2;
    const uint32_t low = is_transposed ? element(t, g) : element(g, t);
    const uint32_t high = is_transposed ? element(t + 1, g) : element(g, t + 1);
    registers[matrix] = low | high << 16;
  }
  emulation::FinishExchange();
}

inline uint32_t TransposeMatrix(uint32_t pair) {
  namespace emulation = lockstep::testing::emulation;
  const auto lane = static_cast<int>(emulation::CurrentThread() % 32);
  emulation::ExchangeInWarp(&pair, sizeof(pair), lane);
  const auto element = [&](int row, int column) {
    uint32_t of_lane;
    std::memcpy(&of_lane, emulation::ExchangeInWarp(nullptr, sizeof(pair), row * 4 + column / 2),
                sizeof(of_lane));
    return column % 2 == 0 ? of_lane & 0xFFFFU : of_lane >> 16;
  };
  const int t = lane % 4 * 2;
  const uint32_t result = element(t, lane / 4) | element(t + 1, lane / 4) << 16;
  emulation::FinishExchange();
  return result;
}

inline void LoadMatricesTransposed(uint32_t (&registers)[4], const void* row) {
  LoadMatrices(registers, row, /*is_transposed=*/true);
}

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_TESTS_TESTING_CUDA_EMULATION_EMULATION_H_
