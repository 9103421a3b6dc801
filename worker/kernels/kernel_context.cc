#include "worker/kernels/kernel_context.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/kernels/cpu/kernel_selection.h"

namespace lockstep::worker {
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

void* KernelContext::Scratch(size_t num_bytes) {
  if (num_bytes > scratch_.size()) {
    scratch_ = HugePages();  // before the larger one is mapped
    scratch_ = HugePages(num_bytes);
  }
  return scratch_.data();
}

}  // namespace lockstep::worker
