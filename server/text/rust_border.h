// Values on their way over the border to the Rust library.
#ifndef LOCKSTEP_SERVER_TEXT_RUST_BORDER_H_
#define LOCKSTEP_SERVER_TEXT_RUST_BORDER_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/text/text_ffi.h"

namespace lockstep::server {

inline LsTextView View(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Owns a string that came over the border.
class RustString {
 public:
  RustString() = default;
  ~RustString() { ls_text_string_free(string_); }
  RustString(const RustString&) = delete;
  RustString& operator=(const RustString&) = delete;

  LsTextString* out() { return &string_; }
  std::string str() const {
    return std::string(reinterpret_cast<const char*>(string_.data), string_.size);
  }

 private:
  LsTextString string_ = {nullptr, 0, 0};
};

inline absl::Status ToStatus(int32_t code, const RustString& error) {
  switch (code) {
    case kLsTextOk:
      return absl::OkStatus();
    case kLsTextInvalidArgument:
      return absl::InvalidArgumentError(error.str());
    case kLsTextNotFound:
      return absl::NotFoundError(error.str());
    case kLsTextFailedPrecondition:
      return absl::FailedPreconditionError(error.str());
    default:
      return absl::InternalError(error.str());
  }
}

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_TEXT_RUST_BORDER_H_
