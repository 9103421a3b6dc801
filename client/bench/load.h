// Sends the requests of a benchmark, and measures what comes back.
#ifndef LOCKSTEP_CLIENT_BENCH_LOAD_H_
#define LOCKSTEP_CLIENT_BENCH_LOAD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/bench/workload.h"
#include "grpcpp/support/status.h"
#include "lockstep/v1/inference.grpc.pb.h"

namespace lockstep::client {

// What happened to one request. Times in seconds after the benchmark's start.
struct Measured {
  // When it should have been sent: latencies count from here, so that a client which falls behind
  // hides nothing (no coordinated omission). With a limit of concurrency, when it was.
  double intended = 0;
  double first_token = 0;
  double last_token = 0;
  // Between tokens, one fewer than there are; a message of several divides its gap.
  std::vector<float> gaps;
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 0;
  uint32_t cached_tokens = 0;
  bool finished = false;  // the server said how the answer ended
  grpc::Status status;
};

struct LoadOptions {
  // 0: every request at its time (an open loop). Else at its time or when fewer than so many are
  // under way, whichever is later; with all times 0 that is a closed loop.
  uint32_t max_concurrency = 0;
  uint32_t vocab_size = 0;
  bool ignore_eos = true;
  float temperature = 0;
  uint64_t seed = 1;
  double timeout = 0;  // seconds for each request; 0: none
  // Of the prefix cache: requests of one run may share blocks, those of others with another salt do
  // not, so that a run's figures do not depend on what the server has seen before.
  std::string cache_salt = {};
};

struct LoadProgress {
  size_t num_sent = 0, num_done = 0, num_total = 0;
  uint64_t output_tokens = 0;
  double seconds = 0;
};

struct LoadResult {
  std::vector<Measured> requests;  // those that were sent and have ended
  double seconds = 0;
  bool interrupted = false;
};

// Sends all requests and waits for their ends. Prompts that the plan does not have are random token
// ids, other ones for each request.
class Load {
 public:
  Load(v1::Inference::Stub& stub, std::vector<PlannedRequest> plan, LoadOptions options);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // `show` is called about ten times a second. Call once.
  LoadResult Run(const std::function<void(const LoadProgress&)>& show);

  // Sends no more and cancels what is under way; Run() then returns. From any thread.
  void Interrupt();

 private:
  class Call;
  struct State;
  void Send(size_t index, double intended);
  const std::unique_ptr<State> state_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_BENCH_LOAD_H_
