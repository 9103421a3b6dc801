#include "server/text/detokenizer.h"

#include "server/text/text_ffi.h"

namespace lockstep::server {
namespace {

std::string Copy(LsTextView text) {
  return std::string(reinterpret_cast<const char*>(text.data), text.size);
}

}  // namespace

void Detokenizer::Free::operator()(LsTextStream* stream) const { ls_text_stream_free(stream); }

Detokenizer::Detokenizer(const TextModel& model, bool skip_special_tokens)
    : model_(model), stream_(ls_text_stream_new(model.model_.get(), skip_special_tokens)) {}

Detokenizer::Detokenizer(const Detokenizer& other)
    : model_(other.model_), stream_(ls_text_stream_copy(other.stream_.get())) {}

std::string Detokenizer::Append(int32_t id) {
  return Copy(ls_text_stream_append(model_.model_.get(), stream_.get(), id));
}

std::string Detokenizer::Pending() const {
  return Copy(ls_text_stream_pending(model_.model_.get(), stream_.get()));
}

std::string Detokenizer::Flush() {
  return Copy(ls_text_stream_flush(model_.model_.get(), stream_.get()));
}

}  // namespace lockstep::server
