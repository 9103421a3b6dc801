#include "server/metrics/engine_metrics.h"

namespace lockstep::server {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// Seconds. The fastest steps take less than a millisecond, the longest answers minutes.
const Buckets& LatencyBuckets() {
  static const Buckets kBuckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                0.5,    1,     2.5,    5,     10,   25,    50,   100, 250};
  return kBuckets;
}

// Seconds, denser where tokens come: 0.5 ms to 2.5 s.
const Buckets& TokenLatencyBuckets() {
  static const Buckets kBuckets{0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02,
                                0.03,   0.05,  0.075, 0.1,   0.15,  0.25,   0.5,  1,     2.5};
  return kBuckets;
}

const Buckets& TokenCountBuckets() {
  static const Buckets kBuckets{1,   2,    5,    10,   20,    50,    100,   200,
                                500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
  return kBuckets;
}

prometheus::Family<prometheus::Histogram>& HistogramFamily(prometheus::Registry& registry,
                                                           const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

prometheus::Histogram& OneHistogram(prometheus::Registry& registry, const char* name,
                                    const char* help, const Buckets& buckets) {
  return HistogramFamily(registry, name, help).Add({}, buckets);
}

prometheus::Family<prometheus::Counter>& CounterFamily(prometheus::Registry& registry,
                                                       const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

void ObserveSpan(prometheus::Histogram& histogram, absl::Time begin, absl::Time end) {
  if (begin == absl::InfinitePast() || end == absl::InfinitePast()) return;
  histogram.Observe(absl::ToDoubleSeconds(end - begin));
}

}  // namespace

EngineMetrics::EngineMetrics(prometheus::Registry& r)
    : time_to_first_token_(OneHistogram(r, "lockstep_time_to_first_token_seconds",
                                        "From a request's arrival until its first token.",
                                        LatencyBuckets())),
      inter_token_latency_(OneHistogram(r, "lockstep_inter_token_latency_seconds",
                                        "Between two tokens of an answer.", TokenLatencyBuckets())),
      request_latency_(OneHistogram(
          r, "lockstep_e2e_request_latency_seconds",
          "From a request's arrival until its end, successful ones alone.", LatencyBuckets())),
      queue_time_(OneHistogram(r, "lockstep_request_queue_time_seconds",
                               "From a request's arrival until it was first part of a step.",
                               LatencyBuckets())),
      prefill_time_(OneHistogram(r, "lockstep_request_prefill_time_seconds",
                                 "From a request's first step until its first token.",
                                 LatencyBuckets())),
      decode_time_(OneHistogram(r, "lockstep_request_decode_time_seconds",
                                "From an answer's first token until its last.", LatencyBuckets())),
      prompt_tokens_(OneHistogram(r, "lockstep_request_prompt_tokens",
                                  "Tokens of a request's prompt.", TokenCountBuckets())),
      generation_tokens_(OneHistogram(r, "lockstep_request_generation_tokens",
                                      "Tokens of a request's answer.", TokenCountBuckets())),
      step_tokens_(
          OneHistogram(r, "lockstep_step_tokens", "Tokens that a step ran.", TokenCountBuckets())),
      step_duration_(HistogramFamily(r, "lockstep_step_duration_seconds",
                                     "A step's time on the slowest rank; phase: prefill, decode, "
                                     "or mixed where it had both.")),
      prefill_step_(step_duration_.Add({{"phase", "prefill"}}, TokenLatencyBuckets())),
      decode_step_(step_duration_.Add({{"phase", "decode"}}, TokenLatencyBuckets())),
      mixed_step_(step_duration_.Add({{"phase", "mixed"}}, TokenLatencyBuckets())),
      cancel_to_free_(OneHistogram(r, "lockstep_cancel_to_free_seconds",
                                   "From a cancellation until slot and KV blocks are free.",
                                   LatencyBuckets())),
      recomputed_tokens_(CounterFamily(r, "lockstep_recomputed_tokens_total",
                                       "Tokens that were run again, after preemptions.")
                             .Add({})) {
  // The server ends when its pool fails, and the platform starts it again: none is ever counted.
  CounterFamily(r, "lockstep_pool_restarts_total",
                "Restarts of the worker pool, by reason and the rank that was to blame.")
      .Add({{"reason", "worker_lost"}, {"rank", "0"}});
  CounterFamily(r, "lockstep_requests_resumed_total",
                "Requests that went on after a restart of the worker pool.")
      .Add({});
}

void EngineMetrics::OnStepDone(const StepSummary& step) {
  prometheus::Histogram& duration = step.num_prefill_tokens == 0  ? decode_step_
                                    : step.num_decode_tokens == 0 ? prefill_step_
                                                                  : mixed_step_;
  duration.Observe(absl::ToDoubleSeconds(step.duration));
  step_tokens_.Observe(step.num_prefill_tokens + step.num_decode_tokens);
  recomputed_tokens_.Increment(step.num_recomputed_tokens);
}

void EngineMetrics::OnToken(bool first, absl::Duration elapsed) {
  (first ? time_to_first_token_ : inter_token_latency_).Observe(absl::ToDoubleSeconds(elapsed));
}

void EngineMetrics::OnRequestDone(const EngineRequest& request, const Completion& completion,
                                  absl::Time now) {
  ObserveSpan(queue_time_, request.arrival, completion.first_scheduled);
  if (!completion.status.ok()) return;
  ObserveSpan(request_latency_, request.arrival, now);
  ObserveSpan(prefill_time_, completion.first_scheduled, completion.first_token);
  ObserveSpan(decode_time_, completion.first_token, completion.last_token);
  prompt_tokens_.Observe(static_cast<double>(request.prompt.size()));
  if (request.logits == worker::v1::LOGITS_NONE)
    generation_tokens_.Observe(completion.num_completion_tokens);
}

void EngineMetrics::OnCancelFreed(absl::Duration elapsed) {
  cancel_to_free_.Observe(absl::ToDoubleSeconds(elapsed));
}

}  // namespace lockstep::server
