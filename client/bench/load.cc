#include "client/bench/load.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <set>
#include <utility>

#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"

namespace lockstep::client {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kShowInterval(100);

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

v1::GenerateRequest MakeRequest(const PlannedRequest& planned, const LoadOptions& options,
                                uint64_t seed) {
  v1::GenerateRequest request;
  auto& prompt = *request.mutable_token_ids()->mutable_ids();
  prompt.Add(planned.token_ids.begin(), planned.token_ids.end());
  if (prompt.empty()) {
    std::mt19937_64 random(seed);
    std::uniform_int_distribution<uint32_t> ids(0, options.vocab_size - 1);
    for (uint32_t i = 0; i < planned.input_tokens; ++i) prompt.Add(ids(random));
  }
  request.mutable_sampling()->set_temperature(options.temperature);
  request.mutable_sampling()->set_seed(seed);
  request.mutable_stopping()->set_max_new_tokens(planned.output_tokens);
  request.mutable_stopping()->set_ignore_eos(options.ignore_eos);
  request.mutable_cache()->set_salt(options.cache_salt);
  return request;
}

}  // namespace

struct Load::State {
  State(v1::Inference::Stub& stub, std::vector<PlannedRequest> plan, LoadOptions options)
      : stub(stub), plan(std::move(plan)), options(options) {}

  v1::Inference::Stub& stub;
  const std::vector<PlannedRequest> plan;
  const LoadOptions options;
  Clock::time_point start;

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by the mutex:
  std::set<Call*> running;
  std::vector<Measured> done;
  size_t num_sent = 0;
  uint64_t output_tokens = 0;
  bool interrupted = false;
};

// One stream; deletes itself at its end.
class Load::Call : public grpc::ClientReadReactor<v1::GenerateStreamResponse> {
 public:
  Call(State& state, const PlannedRequest& planned, double intended, uint64_t seed)
      : state_(state), request_(MakeRequest(planned, state.options, seed)) {
    measured_.intended = intended;
    measured_.input_tokens = planned.input_tokens;
    if (state.options.timeout > 0) {
      context_.set_deadline(std::chrono::system_clock::now() +
                            std::chrono::duration_cast<std::chrono::microseconds>(
                                std::chrono::duration<double>(state.options.timeout)));
    }
  }

  void Begin() {
    state_.stub.async()->GenerateStream(&context_, &request_, this);
    StartRead(&event_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (event_.has_delta()) CountTokens(static_cast<uint32_t>(event_.delta().token_ids_size()));
    if (event_.has_finished()) {
      measured_.finished = true;
      measured_.cached_tokens = event_.finished().usage().cached_tokens();
    }
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    measured_.status = status;
    std::lock_guard lock(state_.mutex);
    state_.running.erase(this);
    state_.done.push_back(std::move(measured_));
    // Under the lock: once it is released, the state may be gone.
    state_.changed.notify_all();
    delete this;
  }

 private:
  void CountTokens(uint32_t num_tokens) {
    if (num_tokens == 0) return;
    const double now = Seconds(Clock::now() - state_.start);
    if (measured_.output_tokens == 0) {
      measured_.first_token = now;
      measured_.gaps.assign(num_tokens - 1, 0);  // they came together
    } else {
      const auto gap = static_cast<float>((now - measured_.last_token) / num_tokens);
      measured_.gaps.insert(measured_.gaps.end(), num_tokens, gap);
    }
    measured_.last_token = now;
    measured_.output_tokens += num_tokens;
    std::lock_guard lock(state_.mutex);
    state_.output_tokens += num_tokens;
  }

  State& state_;
  const v1::GenerateRequest request_;
  grpc::ClientContext context_;
  v1::GenerateStreamResponse event_;
  Measured measured_;
};

Load::Load(v1::Inference::Stub& stub, std::vector<PlannedRequest> plan, LoadOptions options)
    : state_(std::make_unique<State>(stub, std::move(plan), options)) {}

Load::~Load() = default;

void Load::Send(size_t index, double intended) {
  const uint64_t seed = state_->options.seed * 1'000'003 + index;
  auto* call = new Call(*state_, state_->plan[index], intended, seed);
  {
    std::lock_guard lock(state_->mutex);
    state_->running.insert(call);
    ++state_->num_sent;
  }
  call->Begin();
}

LoadResult Load::Run(const std::function<void(const LoadProgress&)>& show) {
  State& state = *state_;
  state.start = Clock::now();
  const uint32_t limit = state.options.max_concurrency;
  std::unique_lock lock(state.mutex);
  while (true) {
    const double now = Seconds(Clock::now() - state.start);
    const size_t next = state.num_sent;
    const bool more = next < state.plan.size() && !state.interrupted;
    if (!more && state.running.empty()) break;
    const double at = more ? state.plan[next].at : 0;
    const bool place = limit == 0 || state.running.size() < limit;
    const bool due = more && place && at <= now;
    if (due) {
      lock.unlock();
      Send(next, limit > 0 ? now : at);
      lock.lock();
      continue;
    }
    LoadProgress progress{next, state.done.size(), state.plan.size(), state.output_tokens, now};
    lock.unlock();
    show(progress);
    lock.lock();
    // An end that came meanwhile is seen above; one that comes now wakes this.
    if (state.done.size() != progress.num_done) continue;
    Clock::time_point wake = Clock::now() + kShowInterval;
    if (more && place) {
      wake = std::min(wake, state.start + std::chrono::duration_cast<Clock::duration>(
                                              std::chrono::duration<double>(at)));
    }
    state.changed.wait_until(lock, wake);
  }
  return {std::move(state.done), Seconds(Clock::now() - state.start), state.interrupted};
}

void Load::Interrupt() {
  std::lock_guard lock(state_->mutex);
  state_->interrupted = true;
  for (Call* call : state_->running) call->Cancel();
  state_->changed.notify_all();
}

}  // namespace lockstep::client
