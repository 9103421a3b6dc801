#ifndef LOCKSTEP_SERVER_APP_LOAD_PROGRESS_H_
#define LOCKSTEP_SERVER_APP_LOAD_PROGRESS_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "lockstep/v1/admin.pb.h"

namespace lockstep::server {

// How far the ranks are with loading, in words and a bar. From one thread.
class LoadProgress {
 public:
  // "[########------------]  40 %, 6.4 of 16.1 GB, 5.2 GB/s, 2 s left" of what the ranks say at
  // `now`. The rank that is least far decides the share and the time left. Empty before a rank has
  // said how much there is, and once all are done.
  std::string Describe(const std::vector<v1::RankInfo>& ranks, absl::Time now);

  // The same once in every `interval` from the first call that had something to say, so that there
  // is a rate to tell; empty in between.
  std::string DescribeEvery(absl::Duration interval, const std::vector<v1::RankInfo>& ranks,
                            absl::Time now);

 private:
  absl::Time begin_ = absl::InfinitePast();  // when the first bytes were seen
  double first_share_ = 0.0;                 // and what they were of all
  absl::Time next_ = absl::InfinitePast();   // of DescribeEvery
};

// Shows it on the standard error stream: a line that is rewritten where that is a terminal, else a
// line in the log every few seconds.
class LoadProgressDisplay {
 public:
  LoadProgressDisplay();

  // How often Show is to be called.
  absl::Duration interval() const;
  void Show(const std::vector<v1::RankInfo>& ranks);
  // Removes the line.
  void Finish();

 private:
  const bool is_terminal_;
  LoadProgress progress_;
  bool has_line_ = false;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_LOAD_PROGRESS_H_
