#ifndef LOCKSTEP_WORKER_RUNTIME_CATCH_EXCEPTIONS_H_
#define LOCKSTEP_WORKER_RUNTIME_CATCH_EXCEPTIONS_H_

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lockstep::worker {

// RESOURCE_EXHAUSTED with what LibTorch says of a GPU's memory, less its advice to Python programs,
// and `advice`.
inline absl::Status OutOfMemory(const c10::OutOfMemoryError& error, const std::string& advice) {
  std::string text = error.what_without_backtrace();
  text = text.substr(0, text.find(" If reserved but unallocated"));
  return absl::ResourceExhaustedError(absl::StrCat(text, " ", advice));
}

// Runs `body`, which returns a Status or StatusOr, without gradients, and turns exceptions into a
// status. `advice` is a sentence that says what to change when memory is exhausted.
template <typename Body>
auto CatchExceptions(const std::string& advice, const Body& body) -> decltype(body()) {
  try {
    const c10::InferenceMode no_gradients;
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("Out of memory on the host. ", advice));
  } catch (const c10::OutOfMemoryError& error) {
    return OutOfMemory(error, advice);
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_CATCH_EXCEPTIONS_H_
