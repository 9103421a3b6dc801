// Finds stop strings in a text that comes in pieces.
#ifndef LOCKSTEP_SERVER_RPC_STOP_STRING_MATCHER_H_
#define LOCKSTEP_SERVER_RPC_STOP_STRING_MATCHER_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::server {

// The answer is the same however the text is cut into pieces: the stop string that ends first wins,
// of several that end at the same byte the longest. Costs O(bytes x strings), independent of the
// strings' lengths (Knuth, Morris, Pratt). Not thread-safe.
class StopStringMatcher {
 public:
  struct Match {
    // Which of the strings.
    std::size_t index;
    // Bytes of the piece just given up to and including the match's last one.
    std::size_t end;
  };

  // None of the strings is empty.
  explicit StopStringMatcher(const std::vector<std::string>& strings);

  // Takes the next piece. With `can_match` false, matches that end within it are passed over.
  std::optional<Match> Append(std::string_view piece, bool can_match);

  // How many of the last bytes given may yet turn out to begin a match.
  std::size_t num_undecided() const;

 private:
  struct Pattern {
    explicit Pattern(const std::string& s);
    // The number of bytes matched after `c`, given `matched` before it.
    std::size_t Advance(std::size_t matched, char c) const;

    std::string text;
    // border[n]: the length of the longest proper border (prefix that is also a suffix) of the
    // first n bytes.
    std::vector<std::size_t> border;
  };

  std::shared_ptr<const std::vector<Pattern>> patterns_;
  // For each pattern, how many of its bytes the bytes given so far end with; all of them right
  // after a match.
  std::vector<std::size_t> matched_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_STOP_STRING_MATCHER_H_
