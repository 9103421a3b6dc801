#include "server/app/start_report.h"

#include <google/protobuf/util/time_util.h>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace lockstep::server {

using google::protobuf::util::TimeUtil;

std::string DescribeStart(const std::vector<v1::RankInfo>& ranks) {
  std::vector<std::string> parts;
  if (ranks.empty()) return "";
  for (const v1::StartPhase& first : ranks[0].start_phases()) {
    int64_t slowest = TimeUtil::DurationToNanoseconds(first.duration());
    uint32_t slowest_rank = ranks[0].rank();
    for (const v1::RankInfo& rank : ranks) {
      for (const v1::StartPhase& phase : rank.start_phases()) {
        const int64_t nanoseconds = TimeUtil::DurationToNanoseconds(phase.duration());
        if (phase.name() != first.name() || nanoseconds <= slowest) continue;
        slowest = nanoseconds;
        slowest_rank = rank.rank();
      }
    }
    parts.push_back(absl::StrFormat("%s %.2f s", first.name(), static_cast<double>(slowest) / 1e9));
    if (ranks.size() > 1) absl::StrAppendFormat(&parts.back(), " (rank %d)", slowest_rank);
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace lockstep::server
