#include "server/rpc/request_log.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

namespace lockstep::server {
namespace {

void SetDuration(absl::Duration duration, google::protobuf::Duration& out) {
  out = google::protobuf::util::TimeUtil::NanosecondsToDuration(
      absl::ToInt64Nanoseconds(std::max(duration, absl::ZeroDuration())));
}

double Milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) * 1e3 + duration.nanos() * 1e-6;
}

// Three decimals are a microsecond.
double Rounded(double milliseconds) { return std::round(milliseconds * 1e3) / 1e3; }

}  // namespace

v1::Timing ToTiming(const Completion& completion, absl::Time arrival, absl::Time now) {
  v1::Timing timing;
  SetDuration(now - arrival, *timing.mutable_total());
  if (completion.first_scheduled == absl::InfinitePast()) return timing;
  SetDuration(completion.first_scheduled - arrival, *timing.mutable_queue());
  if (completion.first_token == absl::InfinitePast()) return timing;
  SetDuration(completion.first_token - completion.first_scheduled, *timing.mutable_prefill());
  SetDuration(completion.last_token - completion.first_token, *timing.mutable_decode());
  return timing;
}

std::string ToJsonLine(const RequestRecord& record) {
  nlohmann::ordered_json line;
  line["event"] = "request";
  line["method"] = record.method;
  if (!record.request_id.empty()) line["request_id"] = record.request_id;
  line["status"] = absl::StatusCodeToString(record.status.code());
  if (!record.status.ok()) line["error"] = std::string(record.status.message());
  if (record.reason != v1::FINISH_REASON_UNSPECIFIED)
    line["reason"] = v1::FinishReason_Name(record.reason);
  line["prompt_tokens"] = record.num_prompt_tokens;
  line["completion_tokens"] = record.num_completion_tokens;
  line["cached_tokens"] = record.num_cached_tokens;
  const auto& timing = record.timing;
  if (timing.has_queue()) line["queue_ms"] = Rounded(Milliseconds(timing.queue()));
  if (timing.has_prefill()) line["prefill_ms"] = Rounded(Milliseconds(timing.prefill()));
  if (timing.has_decode()) line["decode_ms"] = Rounded(Milliseconds(timing.decode()));
  line["total_ms"] = Rounded(Milliseconds(timing.total()));
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void LogPreemption(const std::string& request_id, int32_t num_tokens_lost) {
  nlohmann::ordered_json line;
  line["event"] = "preempted";
  line["request_id"] = request_id;
  line["lost_tokens"] = num_tokens_lost;
  spdlog::info("{}", line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void LogRequest(const RequestRecord& record) {
  const bool our_fault = absl::IsInternal(record.status) || absl::IsUnknown(record.status);
  spdlog::log(our_fault ? spdlog::level::err : spdlog::level::info, "{}", ToJsonLine(record));
}

}  // namespace lockstep::server
