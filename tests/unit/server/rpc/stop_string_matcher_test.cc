#include "server/rpc/stop_string_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace lockstep::server {
namespace {

struct Expected {
  std::size_t index;
  std::size_t end;
};

// The definition, looked at from every end: the first that completes, of several the longest.
std::optional<Expected> NaiveSearch(const std::string& text,
                                    const std::vector<std::string>& strings,
                                    std::size_t first_end) {
  for (std::size_t end = first_end; end <= text.size(); ++end) {
    std::optional<Expected> best;
    for (std::size_t i = 0; i < strings.size(); ++i) {
      const std::string& s = strings[i];
      const bool matches = s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0;
      if (matches && (!best || s.size() > strings[best->index].size())) best = Expected{i, end};
    }
    if (best) return best;
  }
  return std::nullopt;
}

// The longest suffix of `text` that is a proper prefix of one of the strings.
std::size_t NaiveUndecided(const std::string& text, const std::vector<std::string>& strings) {
  std::size_t longest = 0;
  for (const auto& s : strings) {
    for (std::size_t n = 1; n < s.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, s, 0, n) == 0) longest = std::max(longest, n);
    }
  }
  return longest;
}

std::string RandomText(std::mt19937& random, std::size_t size, int alphabet) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + random() % alphabet);
  return text;
}

TEST(StopStringMatcher, AgreesWithNaiveSearchHoweverTheTextIsCut) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    const int alphabet = 1 + static_cast<int>(random() % 3);
    std::vector<std::string> strings(1 + random() % 4);
    for (auto& s : strings) s = RandomText(random, 1 + random() % 6, alphabet);
    const std::string text = RandomText(random, random() % 40, alphabet);
    // Ends before this byte do not count.
    const std::size_t blocked = random() % 2 == 0 ? 0 : random() % (text.size() + 1);

    StopStringMatcher matcher(strings);
    std::optional<Expected> found;
    std::size_t at = 0;
    while (at < text.size() && !found) {
      std::size_t size = std::min<std::size_t>(1 + random() % 5, text.size() - at);
      if (at < blocked) size = std::min(size, blocked - at);
      const auto match = matcher.Append(std::string_view(text).substr(at, size), at >= blocked);
      if (match) found = Expected{match->index, at + match->end};
      at += size;
      if (!found) {
        ASSERT_EQ(matcher.num_undecided(), NaiveUndecided(text.substr(0, at), strings))
            << text.substr(0, at);
      }
    }
    const auto expected = NaiveSearch(text, strings, blocked + 1);
    ASSERT_EQ(found.has_value(), expected.has_value()) << text;
    if (found) {
      ASSERT_EQ(found->end, expected->end) << text;
      ASSERT_EQ(strings[found->index], strings[expected->index]) << text;
    }
  }
}

TEST(StopStringMatcher, ACopyLooksAheadWithoutTouchingTheOriginal) {
  StopStringMatcher matcher({"abc"});
  EXPECT_FALSE(matcher.Append("ab", true));
  StopStringMatcher copy = matcher;
  EXPECT_TRUE(copy.Append("c", true));
  EXPECT_EQ(matcher.num_undecided(), 2u);
  EXPECT_FALSE(matcher.Append("x", true));
  EXPECT_EQ(matcher.num_undecided(), 0u);
}

TEST(StopStringMatcher, LooksForNothingWithoutStrings) {
  StopStringMatcher matcher({});
  EXPECT_FALSE(matcher.Append("anything", true));
  EXPECT_EQ(matcher.num_undecided(), 0u);
}

}  // namespace
}  // namespace lockstep::server
