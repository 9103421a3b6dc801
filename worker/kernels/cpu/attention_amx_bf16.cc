// Attention of bfloat16 on AMX. Nothing may be included here that emits inline functions.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

#include "worker/kernels/cpu/amx_tiles.inl"
// The order matters: each file uses those before it.
#include "worker/kernels/cpu/vec.inl"
//
#include "worker/kernels/cpu/attention_rows.inl"
//
#include "worker/kernels/cpu/amx_layout.inl"
//
#include "worker/kernels/cpu/attention_amx_state.inl"
//
#include "worker/kernels/cpu/attention_amx.inl"

void Attend(const AttentionTask& task, float* scratch) {
  EnterThread();
  AttendAmx<ProcessorTiles>(task, scratch);
  LeaveThread();
}

constexpr AttentionKernel kAttention = {.row_multiple = kAmxTileRows, .attend = Attend};

}  // namespace

const AttentionKernel& AmxBf16Attention() { return kAttention; }

}  // namespace lockstep::worker::cpu
