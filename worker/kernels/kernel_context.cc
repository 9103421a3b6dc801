#include "worker/kernels/kernel_context.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/kernels/cpu/kernel_selection.h"

namespace lockstep::worker {
namespace {

// Scratch memory is walked in all directions: huge pages, where the system gives them, spare page
// table walks.
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<KernelContext>> KernelContext::Create(const KernelOptions& options) {
  if (options.num_threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("num_threads is ", options.num_threads,
                                                   ": a rank needs at least 1 CPU thread"));
  }
  const IsaLevel available = DetectIsaLevel();
  const IsaLevel wanted = options.isa_level.value_or(available);
  if (wanted > available) {
    return absl::InvalidArgumentError(
        absl::StrCat("instruction set ", std::string(IsaLevelName(wanted)),
                     " is not available: the highest of this processor is ",
                     std::string(IsaLevelName(available))));
  }
  cpu::KernelSelection selection = cpu::SelectKernels(wanted);
  return std::unique_ptr<KernelContext>(new KernelContext(
      options.num_threads, selection.isa_level, selection.kernels, std::move(selection.warnings)));
}

KernelContext::KernelContext(int num_threads, IsaLevel isa_level,
                             const cpu::KernelTable* cpu_kernels, std::vector<std::string> warnings)
    : pool_(num_threads),
      isa_level_(isa_level),
      cpu_kernels_(cpu_kernels),
      warnings_(std::move(warnings)) {}

KernelContext::~KernelContext() { std::free(scratch_); }

void* KernelContext::Scratch(size_t num_bytes) {
  if (num_bytes > scratch_size_) {
    std::free(std::exchange(scratch_, nullptr));
    scratch_size_ = 0;
    const size_t size = (num_bytes + kHugePage - 1) / kHugePage * kHugePage;
    scratch_ = std::aligned_alloc(kHugePage, size);
    if (scratch_ == nullptr) throw std::bad_alloc();
    madvise(scratch_, size, MADV_HUGEPAGE);  // refused: ordinary pages
    scratch_size_ = size;
  }
  return scratch_;
}

}  // namespace lockstep::worker
