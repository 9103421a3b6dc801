// A fault on purpose, in a function of ours that gRPC calls, for each sanitizer: it must be
// reported whatever the suppressions hide.
#include <grpcpp/alarm.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

namespace lockstep::testing {
namespace {

int counter = 0;

#ifdef LOCKSTEP_SEED_RACE
// Both threads write without a lock between them.
[[gnu::noinline]] void SeededFault() { ++counter; }
#else
// Reads what has been given back. The pointer is volatile so that the compiler does not see through
// it.
[[gnu::noinline]] void SeededFault() {
  int* volatile number = new int(1);
  delete number;
  counter += *number;
}
#endif

// Once on a thread of gRPC's and once on this one, without an order between the two.
void FaultOnTwoThreads() {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_done = false;
  grpc::Alarm alarm;
  alarm.Set(std::chrono::system_clock::now(), [&](bool) {
    SeededFault();
    const std::lock_guard<std::mutex> lock(mutex);
    is_done = true;
    changed.notify_all();
  });
  SeededFault();
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [&] { return is_done; });
}

}  // namespace
}  // namespace lockstep::testing

int main() {
  lockstep::testing::FaultOnTwoThreads();
  return EXIT_SUCCESS;
}
