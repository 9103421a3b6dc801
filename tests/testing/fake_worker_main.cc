// lockstep-worker without a model. Its first argument says what goes wrong, FAULT,RANK,STEP as
// numbers, and may say how long a step takes and where to trace the steps:
// ,MICROSECONDS,TRACE_FILE.
#include <cstdio>
#include <memory>

#include "tests/testing/fake_step_executor.h"
#include "worker/link/worker_main.h"

int main(int argc, char** argv) {
  int fault = 0;
  lockstep::testing::FakeExecutorOptions options;
  unsigned long long step = 0;
  long step_microseconds = 0;
  char trace_path[256] = "";
  const int num_fields =
      argc < 2 ? 0
               : std::sscanf(argv[1], "%d,%d,%llu,%ld,%255s", &fault, &options.faulty_rank, &step,
                             &step_microseconds, trace_path);
  if (num_fields != 3 && num_fields != 5) {
    std::fprintf(stderr,
                 "usage: fake-worker FAULT,RANK,STEP[,MICROSECONDS,TRACE_FILE] "
                 "[options of lockstep-worker]\n");
    return 2;
  }
  options.step_time = std::chrono::microseconds(step_microseconds);
  options.trace_path = trace_path;
  options.fault = static_cast<lockstep::testing::Fault>(fault);
  options.faulty_step = step;
  argv[1] = argv[0];
  return lockstep::worker::WorkerMain(argc - 1, argv + 1, [&options] {
    return std::make_unique<lockstep::testing::FakeStepExecutor>(options);
  });
}
