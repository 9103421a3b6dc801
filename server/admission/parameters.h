// The groups of GenerateRequest that say how to choose tokens, when to stop and what to report.
#ifndef LOCKSTEP_SERVER_ADMISSION_PARAMETERS_H_
#define LOCKSTEP_SERVER_ADMISSION_PARAMETERS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "lockstep/v1/generate.pb.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/admission/served_model.h"

namespace lockstep::server {

// INVALID_ARGUMENT for the first field that cannot be honoured. What depends on
// the prompt's length is not checked here.
absl::Status CheckSampling(const v1::SamplingParameters& sampling, const ServedModel& model);
absl::Status CheckStopping(const v1::StoppingParameters& stopping, const ServedModel& model);
absl::Status CheckOutput(const v1::OutputOptions& output);
// num_sequences, cache.
absl::Status CheckOtherOptions(const v1::GenerateRequest& request, const ServedModel& model);

// The seed of one of several answers to a request with this seed: the seed itself for the first, so
// that it is the answer that is given alone; for the others the outputs of SplitMix64 (Steele, Lea
// and Flood 2014) started at it. Given with a request of its own, it gives that answer again.
uint64_t SequenceSeed(uint64_t seed, uint32_t index);

// Every default resolved; `seed` is used if the request has none.
worker::v1::Sampling ResolveSampling(const v1::GenerateRequest& request,
                                     const GenerationDefaults& defaults, uint64_t seed);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_PARAMETERS_H_
