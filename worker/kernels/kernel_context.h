#ifndef LOCKSTEP_WORKER_KERNELS_KERNEL_CONTEXT_H_
#define LOCKSTEP_WORKER_KERNELS_KERNEL_CONTEXT_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/kernels/isa_level.h"
#include "worker/kernels/thread_pool.h"
#include "worker/memory/huge_pages.h"

namespace lockstep::worker {

namespace cpu {
struct KernelTable;
}  // namespace cpu

struct KernelOptions {
  // CPU threads of this rank, the calling one included.
  int num_threads = 1;
  // Forces an instruction set; absent: the highest one that this processor has and that passes its
  // self-test.
  std::optional<IsaLevel> isa_level;
};

// What the ops of one rank run on: the CPU threads, the kernels chosen for this processor, and
// scratch memory that grows to the largest step and is kept. Ops on GPU tensors use the current
// stream and nothing of this.
//
// One op at a time per context; the ops of one context are called from one thread.
class KernelContext {
 public:
  // Selects the kernels. Each instruction set's kernels are compared with the generic ones on small
  // problems first; where they differ, the next level down is taken and a warning says so.
  // INVALID_ARGUMENT when num_threads < 1 or when a forced level is above what the processor has.
  static absl::StatusOr<std::unique_ptr<KernelContext>> Create(const KernelOptions& options);

  KernelContext(const KernelContext&) = delete;
  KernelContext& operator=(const KernelContext&) = delete;

  IsaLevel isa_level() const { return isa_level_; }
  // For the log: kernels that failed their self-test and were not selected.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // For the ops' implementations.
  ThreadPool& pool() { return pool_; }
  const cpu::KernelTable& cpu_kernels() const { return *cpu_kernels_; }
  // At least `num_bytes` of 64-byte aligned memory, valid until the next call. Contents are
  // unspecified.
  void* Scratch(size_t num_bytes);

 private:
  KernelContext(int num_threads, IsaLevel isa_level, const cpu::KernelTable* cpu_kernels,
                std::vector<std::string> warnings);

  ThreadPool pool_;
  IsaLevel isa_level_;
  const cpu::KernelTable* cpu_kernels_;  // static storage
  std::vector<std::string> warnings_;
  HugePages scratch_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_KERNELS_KERNEL_CONTEXT_H_
