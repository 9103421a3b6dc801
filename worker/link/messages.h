// Between the messages of control_link.proto and the plain structures of the worker's core.
#ifndef LOCKSTEP_WORKER_LINK_MESSAGES_H_
#define LOCKSTEP_WORKER_LINK_MESSAGES_H_

#include "lockstep/worker/v1/control_link.pb.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

WorkerConfig FromProto(const v1::Configure& configure);
StepPlan FromProto(const v1::StepPlan& plan);
TokenMasks FromProto(const v1::TokenMasks& masks);

v1::WorkerMessage ToProto(const LoadedInfo& loaded);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_MESSAGES_H_
