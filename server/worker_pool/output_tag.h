// Passes a worker's output on to this process's standard error, each line marked with its rank.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_OUTPUT_TAG_H_
#define LOCKSTEP_SERVER_WORKER_POOL_OUTPUT_TAG_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace lockstep::server {

class OutputTag {
 public:
  explicit OutputTag(uint32_t rank);

  // Reads all that a non-blocking descriptor has; false at its end. Lines that standard error does
  // not take at once are dropped: whoever reads it may have stopped, and the pool must not stop
  // with it.
  bool Relay(int fd);

  // The last line that was not empty.
  const std::string& last_line() const { return last_line_; }

 private:
  void Take(absl::string_view text);
  void Flush();

  const std::string prefix_;
  std::string line_;  // not ended yet
  std::string last_line_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_OUTPUT_TAG_H_
