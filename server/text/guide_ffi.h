// The C interface of src/guide_ffi.rs. Only guide.cc includes it. Lifetimes and codes are as in
// text_ffi.h. A compiler and a guide are immutable and may be used by any number of threads; a
// state by one at a time.
#ifndef SERVER_TEXT_GUIDE_FFI_H_
#define SERVER_TEXT_GUIDE_FFI_H_

#include <cstddef>
#include <cstdint>

#include "server/text/text_ffi.h"

extern "C" {

struct LsGuideCompiler;
struct LsGuide;
struct LsGuideState;

enum LsGuideKind : int32_t {
  kLsGuideJsonSchema = 0,
  kLsGuideRegex = 1,
  kLsGuideLark = 2,
  kLsGuideChoice = 3,
};

int32_t ls_guide_compiler_new(const LsTextModel* model, uint32_t vocab_size,
                              const int32_t* end_tokens, size_t num_end_tokens,
                              LsGuideCompiler** compiler, LsTextString* error);
void ls_guide_compiler_free(LsGuideCompiler* compiler);
int32_t ls_guide_compile(const LsGuideCompiler* compiler, int32_t kind, LsTextView text,
                         LsGuide** guide, LsTextString* error);
void ls_guide_free(LsGuide* guide);
int32_t ls_guide_start(const LsGuide* guide, LsGuideState** state, LsTextString* error);
void ls_guide_state_free(LsGuideState* state);
int32_t ls_guide_state_mask(LsGuideState* state, uint32_t* mask, size_t num_words,
                            LsTextString* error);
int32_t ls_guide_state_accept(LsGuideState* state, uint32_t token, bool* complete,
                              LsTextString* error);

}  // extern "C"

#endif  // SERVER_TEXT_GUIDE_FFI_H_
