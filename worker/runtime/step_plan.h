#ifndef LOCKSTEP_WORKER_RUNTIME_STEP_PLAN_H_
#define LOCKSTEP_WORKER_RUNTIME_STEP_PLAN_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/memory/unfilled_vector.h"
#include "worker/sampling/sampling_parameters.h"

// Plain mirrors of the messages in control_link.proto, which states the contract; the worker's core
// knows no Protobuf.

namespace lockstep::worker {

// Steps [first, first + count), counted from 1.
struct StepRange {
  uint64_t first = 0;
  uint64_t count = 0;
};

struct WorkerConfig {
  std::string model_dir;
  std::string device = "cpu";      // "cpu" or "cuda"
  std::string dtype = "bfloat16";  // "float32", "bfloat16" or "float16"
  uint32_t block_size = 32;        // tokens, a power of two from 8 to 256
  uint32_t max_num_seqs = 0;       // slots are numbered from 0 to max_num_seqs - 1
  uint32_t max_num_batched_tokens = 0;
  uint32_t max_model_len = 0;
  uint64_t kv_cache_bytes = 0;  // per rank; 0: decided by Load
  // Whether the head is the embedding, as the frontend found; not given: Load looks itself.
  std::optional<bool> tie_word_embeddings;
  // Fingerprint of the checkpoint that the frontend has; 0: not compared.
  uint64_t checkpoint_fingerprint = 0;
  // The share of a GPU's memory that may be in use once the KV cache is there; above 0, below 1.
  double gpu_memory_utilization = 0.9;
  bool enforce_eager = false;         // no recorded graphs, where the device has them
  uint32_t num_threads = 1;           // per rank
  bool has_own_cores = false;         // those that this rank may run on are no other rank's
  uint32_t local_rank = 0;            // among the ranks of this machine: which GPU is this rank's
  uint32_t local_world_size = 1;      // of this machine
  bool sees_the_others_gpus = false;  // see LocalRank
  std::string communicator_id;        // unique for each start of a pool
  uint32_t collective_timeout_ms = 0;
  // Where a rank writes what its GPU did during `profiles`, ascending and apart; empty: nowhere.
  std::string profile_dir;
  std::vector<StepRange> profiles;
};

struct LoadedInfo {
  uint64_t num_kv_blocks = 0;  // that fit on this rank
  uint64_t weight_bytes = 0;
  uint64_t kv_block_bytes = 0;     // of one block, on this rank
  std::string device_description;  // for people: "cpu avx512_bf16, 1 thread"
  // Of rank 0, where the ranks need it to find each other; goes to every rank's Start.
  std::string communicator_handle;
};

// A part of a rank's start and what it took.
struct StartPhase {
  std::string name;
  std::chrono::nanoseconds duration{0};
};

enum class LogitsRequest {
  kNone = 0,  // sample where the known tokens end
  kLast = 1,  // report the logits of the last known token's position; sample nothing
  kAll = 2,   // report the logits of every position; sample nothing
};

struct AdmittedSlot {
  uint32_t slot = 0;
  std::vector<uint32_t> token_ids;
  SamplingParameters sampling;
  LogitsRequest logits = LogitsRequest::kNone;
  // Report each prompt token but the first, with this many alternatives.
  std::optional<uint32_t> num_prompt_logprobs;
};

struct ScheduledSlot {
  uint32_t slot = 0;
  uint32_t position = 0;
  uint32_t num_tokens = 0;
  std::vector<uint32_t> new_blocks;
  // The row samples under a mask, which comes in the step's TokenMasks.
  bool guided = false;
};

// Applied in this order: released, admitted, scheduled. Decodes come first in `scheduled`.
struct StepPlan {
  uint64_t step = 0;
  std::vector<uint32_t> released_slots;
  std::vector<AdmittedSlot> admitted;
  std::vector<ScheduledSlot> scheduled;
};

struct SlotMask {
  uint32_t slot = 0;
  // [ceil(vocab_size / 32)]: bit i % 32 of word i / 32 says whether token i is allowed. Empty: all
  // are, because nobody looks at the token any more.
  std::vector<uint32_t> allowed;
};

// One mask for each guided row of the step.
struct TokenMasks {
  uint64_t step = 0;
  std::vector<SlotMask> masks;
};

struct SampledToken {
  uint32_t slot = 0;
  uint32_t position = 0;  // the number of tokens before it
  uint32_t token_id = 0;
  // With num_logprobs >= 0, and for tokens of a prompt: log of the token's probability under the
  // model's own distribution (no temperature, no filters), its rank there (1: the most probable),
  // and the most probable tokens.
  float logprob = 0.0F;
  uint32_t rank = 0;
  std::vector<TokenLogprob> top;
  // The row's logits have a NaN, +infinity or nothing finite: the token is a stand-in.
  bool is_broken = false;
};

struct SlotLogits {
  uint32_t slot = 0;
  uint32_t position = 0;  // of the first row
  uint32_t num_rows = 0;
  // [num_rows, columns of this rank's part of the vocabulary] where every rank reports its own;
  // else [num_rows, vocab_size] on rank 0 and empty on the others.
  UnfilledVector<float> logits;
};

struct StepResult {
  uint64_t step = 0;
  uint64_t state_hash = 0;  // equal on every rank
  uint64_t duration_ns = 0;
  // From rank 0 alone.
  std::vector<SampledToken> sampled;
  // Of all slots that report some, in the same order on every rank.
  std::vector<SlotLogits> logits;
  // Of slots with num_prompt_logprobs, in order of position.
  std::vector<SampledToken> prompt_tokens;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_STEP_PLAN_H_
