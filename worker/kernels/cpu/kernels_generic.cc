// The kernels for the x86-64 baseline. See kernel_table.h; nothing may be included here that emits
// inline functions.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

#include "worker/kernels/cpu/vec.inl"
// The order matters: each file uses those before it.
#include "worker/kernels/cpu/gemm_tiles.inl"
//
#include "worker/kernels/cpu/gemm.inl"
//
#include "worker/kernels/cpu/row_ops.inl"
//
#include "worker/kernels/cpu/attention_rows.inl"
//
#include "worker/kernels/cpu/attention_tile.inl"
//
#include "worker/kernels/cpu/attention_few_rows.inl"
//
#include "worker/kernels/cpu/attention.inl"
//
#include "worker/kernels/cpu/table.inl"

}  // namespace

const KernelTable& GenericKernels() { return kTable; }

}  // namespace lockstep::worker::cpu
