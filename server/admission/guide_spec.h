// GenerateRequest.guide, checked.
#ifndef LOCKSTEP_SERVER_ADMISSION_GUIDE_SPEC_H_
#define LOCKSTEP_SERVER_ADMISSION_GUIDE_SPEC_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lockstep/v1/generate.pb.h"
#include "server/text/guide.h"

namespace lockstep::server {

// What is to be compiled. INVALID_ARGUMENT for what is empty or too long; the rest shows when it is
// compiled.
absl::StatusOr<GuideSpec> ToGuideSpec(const v1::Guide& guide);

// The path of the field that says what form answers have, for example "guide.json_schema".
const char* GuideFieldName(const v1::Guide& guide);

// The compiler's INVALID_ARGUMENT, or an answer's, as one that names the field; others as they are.
absl::Status NameGuideField(absl::string_view field, absl::Status status);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_GUIDE_SPEC_H_
