#ifndef LOCKSTEP_WORKER_CHECKPOINT_FINGERPRINT_H_
#define LOCKSTEP_WORKER_CHECKPOINT_FINGERPRINT_H_

#include <cstdint>
#include <filesystem>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/llama_config.h"

namespace lockstep::worker {

// A number that tells checkpoints apart, whichever files their tensors are in: a hash of
// config.json and of every tensor's name, type, shape and some KiB from its beginning and its
// middle. Never 0. Takes milliseconds, as little is read; so a difference in a few weights alone,
// or in tokenizer files, need not show. Not cryptographic.
//
// `config` and `checkpoint` are what LoadLlamaConfig and Checkpoint::Open made of `model_dir`.
uint64_t Fingerprint(const std::filesystem::path& model_dir, const LlamaConfig& config,
                     const Checkpoint& checkpoint);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_FINGERPRINT_H_
