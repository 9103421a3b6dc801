// What GetModelInfo says.
#ifndef LOCKSTEP_SERVER_RPC_MODEL_INFO_H_
#define LOCKSTEP_SERVER_RPC_MODEL_INFO_H_

#include <cstdint>
#include <string>

#include "lockstep/v1/inference.pb.h"
#include "server/admission/served_model.h"
#include "server/text/text_model.h"
#include "worker/checkpoint/llama_config.h"

namespace lockstep::server {

// Of a LlamaForCausalLM; tied tensors are counted once.
uint64_t NumParameters(const worker::LlamaConfig& config);

// Everything that is known before the workers are: num_kv_blocks is left out. `dtype` is the one
// that the model computes in, for example "bfloat16".
v1::GetModelInfoResponse DescribeModel(const ServedModel& model, const worker::LlamaConfig& config,
                                       const TextModel& text, const std::string& dtype);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_MODEL_INFO_H_
