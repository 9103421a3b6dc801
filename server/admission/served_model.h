// The served model, as far as requests can tell.
#ifndef LOCKSTEP_SERVER_ADMISSION_SERVED_MODEL_H_
#define LOCKSTEP_SERVER_ADMISSION_SERVED_MODEL_H_

#include <cstdint>
#include <limits>
#include <string>

#include "server/admission/generation_defaults.h"

namespace lockstep::server {

struct ServedModel {
  // What GenerateRequest.model may say.
  std::string name;
  // Token ids that the embedding has rows for.
  int32_t vocab_size = 0;
  // Tokens of prompt and answer together.
  int32_t max_model_len = 0;
  GenerationDefaults defaults;
  // That run and wait at once at most: a request with more can never be taken.
  uint32_t max_sequences = std::numeric_limits<uint32_t>::max();
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_SERVED_MODEL_H_
