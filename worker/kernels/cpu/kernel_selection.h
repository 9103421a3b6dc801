#ifndef LOCKSTEP_WORKER_KERNELS_CPU_KERNEL_SELECTION_H_
#define LOCKSTEP_WORKER_KERNELS_CPU_KERNEL_SELECTION_H_

#include <string>
#include <vector>

#include "worker/kernels/cpu/kernel_table.h"
#include "worker/kernels/isa_level.h"

namespace lockstep::worker::cpu {

struct KernelSelection {
  IsaLevel isa_level;
  const KernelTable* kernels;         // static storage
  std::vector<std::string> warnings;  // one per level that failed its check
};

// The kernels of `level`, which the processor must have, or of the highest level below it that
// passes CheckGemm.
KernelSelection SelectKernels(IsaLevel level);

// The kernels of exactly this level, unchecked.
const KernelTable& KernelsOf(IsaLevel level);

// Compares a matrix kernel with the baseline's on a small problem of integers, whose sums are exact
// in any order. Returns an empty string, or the first element that differs with both values.
std::string CheckGemm(const GemmKernel& kernel, ElementType weight_type);

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_WORKER_KERNELS_CPU_KERNEL_SELECTION_H_
