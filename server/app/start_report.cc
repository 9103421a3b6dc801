#include "server/app/start_report.h"

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace lockstep::server {
namespace {

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

}  // namespace

std::string DescribeStart(const std::vector<v1::RankInfo>& ranks) {
  std::vector<std::string> parts;
  if (ranks.empty()) return "";
  for (const v1::StartPhase& first : ranks[0].start_phases()) {
    double slowest = Seconds(first.duration());
    uint32_t slowest_rank = ranks[0].rank();
    for (const v1::RankInfo& rank : ranks) {
      for (const v1::StartPhase& phase : rank.start_phases()) {
        if (phase.name() != first.name() || Seconds(phase.duration()) <= slowest) continue;
        slowest = Seconds(phase.duration());
        slowest_rank = rank.rank();
      }
    }
    parts.push_back(absl::StrFormat("%s %.2f s", first.name(), slowest));
    if (ranks.size() > 1) absl::StrAppendFormat(&parts.back(), " (rank %d)", slowest_rank);
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace lockstep::server
