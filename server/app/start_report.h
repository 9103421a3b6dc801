#ifndef LOCKSTEP_SERVER_APP_START_REPORT_H_
#define LOCKSTEP_SERVER_APP_START_REPORT_H_

#include <string>
#include <vector>

#include "lockstep/v1/admin.pb.h"

namespace lockstep::server {

// What the ranks' start took, for people, phase by phase in rank 0's order, each as long as its
// slowest rank took, who is named where there are several: "weights 0.52 s (rank 1), …". Empty
// where no rank said so.
std::string DescribeStart(const std::vector<v1::RankInfo>& ranks);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_START_REPORT_H_
