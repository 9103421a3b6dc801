// The whole of lockstep-worker but the model: main.cc adds the executor.
#ifndef LOCKSTEP_WORKER_LINK_WORKER_MAIN_H_
#define LOCKSTEP_WORKER_LINK_WORKER_MAIN_H_

#include <functional>
#include <memory>

#include "worker/runtime/step_executor.h"

namespace lockstep::worker {

// To be called first thing in main, before any thread runs. Parses the command line, dials the
// frontend and serves it with the executor that `make_executor` makes, until the end; returns the
// exit status. The process should end with it without delay: it may still be ended by _exit.
int WorkerMain(int argc, const char* const* argv,
               const std::function<std::unique_ptr<StepExecutor>()>& make_executor);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_WORKER_MAIN_H_
