#include "server/rpc/stop_string_matcher.h"

#include <algorithm>
#include <utility>

namespace lockstep::server {

StopStringMatcher::Pattern::Pattern(const std::string& s) : text(s), border(s.size() + 1, 0) {
  for (std::size_t n = 2, length = 0; n <= text.size(); ++n) {
    while (length > 0 && text[n - 1] != text[length]) length = border[length];
    if (text[n - 1] == text[length]) ++length;
    border[n] = length;
  }
}

std::size_t StopStringMatcher::Pattern::Advance(std::size_t matched, char c) const {
  if (matched == text.size()) matched = border[matched];
  while (matched > 0 && text[matched] != c) matched = border[matched];
  return text[matched] == c ? matched + 1 : matched;
}

StopStringMatcher::StopStringMatcher(const std::vector<std::string>& strings)
    : patterns_(std::make_shared<std::vector<Pattern>>(strings.begin(), strings.end())),
      matched_(strings.size(), 0) {}

std::optional<StopStringMatcher::Match> StopStringMatcher::Append(std::string_view piece,
                                                                  bool can_match) {
  const std::vector<Pattern>& patterns = *patterns_;
  for (std::size_t i = 0; i < piece.size(); ++i) {
    std::optional<std::size_t> best;
    for (std::size_t p = 0; p < patterns.size(); ++p) {
      matched_[p] = patterns[p].Advance(matched_[p], piece[i]);
      const bool complete = can_match && matched_[p] == patterns[p].text.size();
      if (complete && (!best || patterns[p].text.size() > patterns[*best].text.size())) best = p;
    }
    if (best) return Match{*best, i + 1};
  }
  return std::nullopt;
}

std::size_t StopStringMatcher::num_undecided() const {
  std::size_t undecided = 0;
  for (std::size_t p = 0; p < matched_.size(); ++p) {
    const Pattern& pattern = (*patterns_)[p];
    // A match that was passed over is decided; what may still count is its border.
    const bool passed_over = matched_[p] == pattern.text.size();
    undecided = std::max(undecided, passed_over ? pattern.border[matched_[p]] : matched_[p]);
  }
  return undecided;
}

}  // namespace lockstep::server
