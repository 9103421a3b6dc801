// bfloat16 matrix products on AMX. Nothing may be included here that emits inline functions.
#include <immintrin.h>

#include <cstdint>

#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

#include "worker/kernels/cpu/amx_tiles.inl"
//
#include "worker/kernels/cpu/amx_layout.inl"
//
#include "worker/kernels/cpu/gemm_amx.inl"

constexpr GemmKernel kGemm = MakeAmxGemm<ProcessorTiles>(EnterThread, LeaveThread);

}  // namespace

const GemmKernel& AmxBf16Gemm() { return kGemm; }

}  // namespace lockstep::worker::cpu
