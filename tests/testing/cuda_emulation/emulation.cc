#include "tests/testing/cuda_emulation/emulation.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <thread>

namespace lockstep::testing::emulation {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kMaxValueBytes = 64;

struct Copy {
  void* to;
  const void* from;  // null: zeros
  size_t size;
};

struct Fiber {
  ucontext_t start;
  jmp_buf resume;
  bool is_started = false;
  std::vector<char> stack = std::vector<char>(kStackBytes);
  bool is_done = false;
  std::vector<Copy> copies;  // not in a group yet
  std::deque<std::vector<Copy>> groups;
};

struct Barrier {
  int num_threads = 0;
  int num_arrived = 0;
  uint64_t generation = 0;
};

struct Warp {
  Barrier barrier;
  alignas(16) char values[kWarpSize][kMaxValueBytes];
};

// The block that runs on this host thread's GPU.
struct Block {
  jmp_buf scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  unsigned current = 0;
  unsigned num_threads = 0;
  dim3 index;
  dim3 grid;
  uint64_t num_signs_of_life = 0;  // barriers passed, looks at what another GPU may change
  const std::function<void()>* body = nullptr;
  ThreadOrder order = ThreadOrder::kAscending;
  bool has_warpgroups = false;
};

Block& TheBlock() {
  thread_local Block block;
  return block;
}

void FiberMain() {
  Block& block = TheBlock();
  (*block.body)();
  block.fibers[block.current]->is_done = true;
  _longjmp(block.scheduler, 1);
}

// Only a fiber's first switch is by context: it asks the kernel for the signal mask, which jumps do
// not.
void Resume(Block& block, Fiber& fiber) {
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.is_started) _longjmp(fiber.resume, 1);
  fiber.is_started = true;
  setcontext(&fiber.start);
}

void Yield() {
  Block& block = TheBlock();
  if (_setjmp(block.fibers[block.current]->resume) == 0) _longjmp(block.scheduler, 1);
}

void Wait(Barrier& barrier) {
  const uint64_t generation = barrier.generation;
  if (++barrier.num_arrived == barrier.num_threads) {
    barrier.num_arrived = 0;
    ++barrier.generation;
    ++TheBlock().num_signs_of_life;
    return;
  }
  while (barrier.generation == generation) Yield();
}

Warp& CurrentWarp() { return TheBlock().warps[TheBlock().current / kWarpSize]; }

void StartFibers(Block& block) {
  while (block.fibers.size() < block.num_threads) {
    block.fibers.push_back(std::make_unique<Fiber>());
  }
  for (unsigned i = 0; i < block.num_threads; ++i) {
    Fiber& fiber = *block.fibers[i];
    fiber.is_done = false;
    fiber.is_started = false;
    fiber.copies.clear();
    fiber.groups.clear();
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    fiber.start.uc_stack.ss_size = fiber.stack.size();
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, &FiberMain, 0);
  }
  block.barrier = {.num_threads = static_cast<int>(block.num_threads)};
  block.warps.resize((block.num_threads + kWarpSize - 1) / kWarpSize);
  for (Warp& warp : block.warps) warp.barrier = {.num_threads = kWarpSize};
}

void RunBlock(Block& block) {
  StartFibers(block);
  unsigned num_done = 0;
  while (num_done < block.num_threads) {
    const uint64_t signs_before = block.num_signs_of_life;
    const unsigned done_before = num_done;
    for (unsigned i = 0; i < block.num_threads; ++i) {
      block.current = block.order == ThreadOrder::kAscending ? i : block.num_threads - 1 - i;
      Fiber& fiber = *block.fibers[block.current];
      if (fiber.is_done) continue;
      Resume(block, fiber);
      if (fiber.is_done) ++num_done;
    }
    if (num_done == done_before && block.num_signs_of_life == signs_before) {
      std::fprintf(stderr,
                   "a kernel's barrier is not reached by all threads: %u of %u have ended\n",
                   num_done, block.num_threads);
      std::abort();
    }
  }
}

}  // namespace

void SetThreadOrder(ThreadOrder order) { TheBlock().order = order; }

void SetHasWarpgroups(bool has_warpgroups) { TheBlock().has_warpgroups = has_warpgroups; }
bool HasWarpgroups() { return TheBlock().has_warpgroups; }

void Run(dim3 grid, dim3 threads, const std::function<void()>& body) {
  Block& block = TheBlock();
  if (threads.y != 1 || threads.z != 1 || threads.x % kWarpSize != 0) {
    std::fprintf(stderr, "blocks of %u x %u x %u threads are not emulated\n", threads.x, threads.y,
                 threads.z);
    std::abort();
  }
  block.num_threads = threads.x;
  block.body = &body;
  block.grid = grid;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        block.index = dim3(x, y, z);
        RunBlock(block);
      }
    }
  }
}

unsigned CurrentThread() { return TheBlock().current; }
dim3 CurrentBlock() { return TheBlock().index; }
dim3 CurrentGrid() { return TheBlock().grid; }

void SynchronizeBlock() { Wait(TheBlock().barrier); }
void SynchronizeWarp() { Wait(CurrentWarp().barrier); }

void LetOthersRun() {
  ++TheBlock().num_signs_of_life;
  std::this_thread::yield();
  Yield();
}

const void* ExchangeInWarp(const void* value, size_t size, int lane) {
  Warp& warp = CurrentWarp();
  if (size > kMaxValueBytes) std::abort();
  if (value != nullptr) {
    std::memcpy(warp.values[lane], value, size);
    SynchronizeWarp();
  }
  return warp.values[lane];
}

void FinishExchange() { SynchronizeWarp(); }

void BeginCopy(void* to, const void* from, size_t size) {
  TheBlock().fibers[TheBlock().current]->copies.push_back({to, from, size});
}

void CommitCopyGroup() {
  Fiber& fiber = *TheBlock().fibers[TheBlock().current];
  fiber.groups.push_back(std::move(fiber.copies));
  fiber.copies.clear();
}

void WaitForCopyGroups(size_t num_pending) {
  Fiber& fiber = *TheBlock().fibers[TheBlock().current];
  for (; fiber.groups.size() > num_pending; fiber.groups.pop_front()) {
    for (const Copy& copy : fiber.groups.front()) {
      if (copy.from != nullptr) {
        std::memcpy(copy.to, copy.from, copy.size);
      } else {
        std::memset(copy.to, 0, copy.size);
      }
    }
  }
}

}  // namespace lockstep::testing::emulation
