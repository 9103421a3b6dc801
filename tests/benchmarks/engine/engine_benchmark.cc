// What a step costs the engine's thread, without a model: Schedule, Apply and the taking of events,
// with 256 sequences running, requests coming and going, prefixes shared and clients leaving.
//
//   engine-benchmark NUM_STEPS NUM_SEQUENCES NUM_BLOCKS
//
// Prints one JSON object. Times are CPU time of the thread, so that neighbours do not count.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "server/scheduler/scheduler.h"
#include "tests/benchmarks/engine/load.h"

namespace lockstep::server {
namespace {

constexpr int kNumWaiting = 32;
constexpr double kCancelShare = 0.03;  // of requests
constexpr int kNumHeapSamples = 10;

double Microseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

size_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

struct Options {
  int num_steps = 0;
  int num_sequences = 0;
  uint32_t num_blocks = 0;
};

SchedulerOptions ForScheduler(const Options& options) {
  SchedulerOptions scheduler;
  scheduler.max_num_seqs = options.num_sequences;
  scheduler.max_model_len = kMaxPromptTokens + kMaxAnswerTokens;
  scheduler.max_steps_in_flight = 2;
  scheduler.max_queued_requests = kNumWaiting;
  return scheduler;
}

class Benchmark {
 public:
  explicit Benchmark(const Options& options)
      : options_(options),
        scheduler_(ForScheduler(options)),
        requests_(/*seed=*/1),
        tokens_(options.num_sequences) {
    scheduler_.Start(options.num_blocks);
    times_.reserve(static_cast<size_t>(options.num_steps));
  }

  // False: the scheduler did not do what was asked.
  bool Run() {
    // The cache of prefixes fills before the heap is measured.
    const int num_warm_steps = std::max(1000, options_.num_steps / 20);
    for (int step = 0; step < num_warm_steps; ++step) {
      if (!Step()) return false;
    }
    times_.clear();
    num_rows_ = 0;
    num_events_ = 0;
    for (int step = 0; step < options_.num_steps; ++step) {
      if (step % std::max(1, options_.num_steps / kNumHeapSamples) == 0) Sample(step);
      if (!Step()) return false;
    }
    Sample(options_.num_steps);
    return true;
  }

  void Print() {
    std::sort(times_.begin(), times_.end());
    const auto at = [this](double q) {
      return times_[static_cast<size_t>(q * static_cast<double>(times_.size() - 1))];
    };
    std::printf(
        "{\"num_steps\": %d, \"num_sequences\": %d, \"num_blocks\": %u, \"rows_per_step\": %.1f, "
        "\"events_per_step\": %.1f, \"num_requests\": %llu, \"num_preemptions\": %llu, "
        "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, "
        "\"heap_mib\": [",
        options_.num_steps, options_.num_sequences, options_.num_blocks,
        static_cast<double>(num_rows_) / options_.num_steps,
        static_cast<double>(num_events_) / options_.num_steps,
        static_cast<unsigned long long>(last_handle_),
        static_cast<unsigned long long>(scheduler_.num_preemptions()), at(0.5), at(0.99), at(0.999),
        at(1));
    for (size_t i = 0; i < heap_.size(); ++i) {
      std::printf("%s%.2f", i == 0 ? "" : ", ", static_cast<double>(heap_[i]) / (1 << 20));
    }
    std::printf("]}\n");
  }

 private:
  void Sample(int step) {
    heap_.push_back(HeapBytes());
    std::fprintf(stderr, "\r%d of %d steps", step, options_.num_steps);
    if (step == options_.num_steps) std::fprintf(stderr, "\n");
  }

  bool AddRequests() {
    while (scheduler_.num_running() + scheduler_.num_waiting() <
           static_cast<size_t>(options_.num_sequences + kNumWaiting)) {
      if (!scheduler_.Add(++last_handle_, requests_.Next(now_)).ok()) return false;
      if (requests_.Chance(kCancelShare)) leaving_.push_back(last_handle_);
    }
    // One client whose request is some way into its answer.
    if (leaving_.size() > 16) {
      scheduler_.Finish(leaving_.front(), v1::FINISH_REASON_UNSPECIFIED, absl::CancelledError());
      leaving_.pop_front();
    }
    return true;
  }

  // Plans one step ahead of the result that it applies.
  bool Step() {
    if (!AddRequests()) return false;
    now_ += absl::Milliseconds(8);
    const double begin = Microseconds();
    std::optional<worker::v1::StepPlan> plan = scheduler_.Schedule(now_);
    double spent = Microseconds() - begin;
    if (plan.has_value()) {
      num_rows_ += plan->scheduled_size();
      results_.push_back(tokens_.Answer(*plan));
    }
    if (results_.size() == 2 || !plan.has_value()) {
      if (results_.empty()) return false;
      worker::v1::StepResult result = std::move(results_.front());
      results_.pop_front();
      const double applying = Microseconds();
      if (!scheduler_.Apply({std::move(result), {}}, now_).ok()) return false;
      const std::vector<Event> events = scheduler_.TakeEvents();
      spent += Microseconds() - applying;
      num_events_ += static_cast<int64_t>(events.size());
    }
    times_.push_back(spent);
    return true;
  }

  const Options options_;
  Scheduler scheduler_;
  RequestSource requests_;
  TokenSource tokens_;
  absl::Time now_ = absl::UnixEpoch();
  RequestHandle last_handle_ = 0;
  std::deque<RequestHandle> leaving_;
  std::deque<worker::v1::StepResult> results_;
  std::vector<double> times_;
  std::vector<size_t> heap_;
  int64_t num_rows_ = 0;
  int64_t num_events_ = 0;
};

}  // namespace
}  // namespace lockstep::server

int main(int argc, char** argv) {
  lockstep::server::Options options;
  if (argc == 4) {
    options.num_steps = std::atoi(argv[1]);
    options.num_sequences = std::atoi(argv[2]);
    options.num_blocks = static_cast<uint32_t>(std::atoi(argv[3]));
  }
  const uint32_t min_blocks = lockstep::server::ForScheduler(options).min_kv_blocks();
  if (options.num_steps < 1 || options.num_sequences < 1 || options.num_blocks < min_blocks) {
    std::fprintf(
        stderr,
        "usage: engine-benchmark NUM_STEPS NUM_SEQUENCES NUM_BLOCKS, of %u blocks at least\n",
        min_blocks);
    return 2;
  }
  lockstep::server::Benchmark benchmark(options);
  if (!benchmark.Run()) {
    std::fprintf(stderr, "the scheduler did not do what was asked\n");
    return 1;
  }
  benchmark.Print();
}
