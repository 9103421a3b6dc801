// A step's result whose message has all of its logits.
#ifndef LOCKSTEP_TESTS_TESTING_WHOLE_RESULT_H_
#define LOCKSTEP_TESTS_TESTING_WHOLE_RESULT_H_

#include <utility>

#include "absl/status/status.h"
#include "server/worker_pool/step_result.h"

namespace lockstep::testing {

inline server::StepResult WholeResult(worker::v1::StepResult message) {
  const auto open = [](const worker::v1::SharedColumns&) -> absl::StatusOr<server::LogitShard> {
    return absl::InternalError("there is no shared memory");
  };
  return server::ReadStepResult(std::move(message), open).value();
}

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_WHOLE_RESULT_H_
