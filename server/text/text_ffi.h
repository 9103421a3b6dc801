// The C interface of the Rust library in src/ (see src/ffi.rs). Only this folder's .cc files
// include it.
//
// Lifetimes: an LsTextString or LsTextIds that a call stored belongs to the caller, who frees it.
// An LsTextView is borrowed. A model is immutable and may be used by any number of threads; a
// stream by one at a time.

#ifndef SERVER_TEXT_TEXT_FFI_H_
#define SERVER_TEXT_TEXT_FFI_H_

#include <cstddef>
#include <cstdint>

extern "C" {

struct LsTextModel;
struct LsTextStream;

// What the calls that can fail return; 0 is success. Other codes leave a message in `error`.
enum LsTextCode : int32_t {
  kLsTextOk = 0,
  kLsTextInvalidArgument = 1,
  kLsTextNotFound = 2,
  kLsTextFailedPrecondition = 3,
  kLsTextInternal = 4,
};

struct LsTextView {
  const uint8_t* data;
  size_t size;
};

struct LsTextString {
  uint8_t* data;
  size_t size;
  size_t capacity;
};

struct LsTextIds {
  int32_t* data;
  size_t size;
  size_t capacity;
};

struct LsTextMessage {
  LsTextView role;
  LsTextView content;
};

struct LsTextChat {
  const LsTextMessage* messages;
  size_t num_messages;
  LsTextView variables_json;
  bool add_generation_prompt;
  int64_t now_unix_seconds;
};

int32_t ls_text_load(LsTextView dir, LsTextModel** model, LsTextString* error);
void ls_text_free(LsTextModel* model);
int32_t ls_text_encode(const LsTextModel* model, LsTextView text, bool add_special_tokens,
                       LsTextIds* ids, LsTextString* error);
int32_t ls_text_decode(const LsTextModel* model, const int32_t* ids, size_t num_ids,
                       bool skip_special_tokens, LsTextString* text, LsTextString* error);
int32_t ls_text_apply_chat_template(const LsTextModel* model, const LsTextChat* chat,
                                    LsTextString* prompt, LsTextString* error);
bool ls_text_has_chat_template(const LsTextModel* model);
size_t ls_text_num_warnings(const LsTextModel* model);
LsTextView ls_text_warning(const LsTextModel* model, size_t index);
int32_t ls_text_vocab_size(const LsTextModel* model);
bool ls_text_token(const LsTextModel* model, int32_t id, LsTextView* bytes, bool* special);
int32_t ls_text_token_to_id(const LsTextModel* model, LsTextView token);
int32_t ls_text_special_token(const LsTextModel* model, LsTextView name);

LsTextStream* ls_text_stream_new(const LsTextModel* model, bool skip_special_tokens);
LsTextStream* ls_text_stream_copy(const LsTextStream* stream);
void ls_text_stream_free(LsTextStream* stream);
LsTextView ls_text_stream_append(const LsTextModel* model, LsTextStream* stream, int32_t id);
LsTextView ls_text_stream_pending(const LsTextModel* model, LsTextStream* stream);
LsTextView ls_text_stream_flush(const LsTextModel* model, LsTextStream* stream);

void ls_text_string_free(LsTextString text);
void ls_text_ids_free(LsTextIds ids);

}  // extern "C"

#endif  // SERVER_TEXT_TEXT_FFI_H_
