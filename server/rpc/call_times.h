#ifndef LOCKSTEP_SERVER_RPC_CALL_TIMES_H_
#define LOCKSTEP_SERVER_RPC_CALL_TIMES_H_

#include <grpcpp/server_context.h>

#include "server/admission/admission.h"

namespace lockstep::server {

// Of a call that has just arrived.
CallTimes TimesOf(const grpc::CallbackServerContext& context);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_CALL_TIMES_H_
