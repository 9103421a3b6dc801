#include <unistd.h>

#include <cstdio>

#include "worker/link/worker_main.h"
#include "worker/runtime/step_executor.h"

int main(int argc, char** argv) {
  const int status = lockstep::worker::WorkerMain(argc, argv, &lockstep::worker::MakeStepExecutor);
  // Not return: the order in which LibTorch's and gRPC's globals are destroyed is nobody's, and all
  // is written.
  std::fflush(nullptr);
  _exit(status);
}
