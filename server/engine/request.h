// EngineRequest and RequestHandle, part of the engine's interface. They live with the scheduler,
// which the engine depends on.
#ifndef LOCKSTEP_SERVER_ENGINE_REQUEST_H_
#define LOCKSTEP_SERVER_ENGINE_REQUEST_H_

#include "server/scheduler/request.h"  // IWYU pragma: export

#endif  // LOCKSTEP_SERVER_ENGINE_REQUEST_H_
