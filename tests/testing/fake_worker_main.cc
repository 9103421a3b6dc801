// lockstep-worker without a model. Its first argument says what goes wrong: FAULT,RANK,STEP as
// numbers.
#include <cstdio>
#include <memory>

#include "tests/testing/fake_step_executor.h"
#include "worker/link/worker_main.h"

int main(int argc, char** argv) {
  int fault = 0;
  lockstep::testing::FakeExecutorOptions options;
  unsigned long long step = 0;
  if (argc < 2 || std::sscanf(argv[1], "%d,%d,%llu", &fault, &options.faulty_rank, &step) != 3) {
    std::fprintf(stderr, "usage: fake-worker FAULT,RANK,STEP [options of lockstep-worker]\n");
    return 2;
  }
  options.fault = static_cast<lockstep::testing::Fault>(fault);
  options.faulty_step = step;
  argv[1] = argv[0];
  return lockstep::worker::WorkerMain(argc - 1, argv + 1, [&options] {
    return std::make_unique<lockstep::testing::FakeStepExecutor>(options);
  });
}
