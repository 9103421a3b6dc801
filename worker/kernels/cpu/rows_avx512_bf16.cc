// The kernels on rows with the conversions to bfloat16 of AVX-512 BF16, which round as all do, but
// take subnormal numbers for zero. Nothing may be included here that emits inline functions.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

#include "worker/kernels/cpu/vec.inl"
// The order matters: each file uses those before it.
#include "worker/kernels/cpu/row_ops.inl"

}  // namespace

const RowKernels& Avx512Bf16Rows() { return kRowKernels; }

}  // namespace lockstep::worker::cpu
