#include "server/config/option_values.h"

#include <gtest/gtest.h>

namespace lockstep::server {
namespace {

TEST(ParseBytes, ReadsBinaryAndDecimalUnits) {
  EXPECT_EQ(*ParseBytes("4GiB"), uint64_t{4} << 30);
  EXPECT_EQ(*ParseBytes("1.5 Gi"), uint64_t{3} << 29);
  EXPECT_EQ(*ParseBytes("512mib"), uint64_t{512} << 20);
  EXPECT_EQ(*ParseBytes("2GB"), uint64_t{2'000'000'000});
  EXPECT_EQ(*ParseBytes("1048576"), uint64_t{1048576});
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text : {"", "GiB", "-1", "4 gigs", "1e30", "nan", "9999999TiB", "4GiB8"}) {
    EXPECT_FALSE(ParseBytes(text).ok()) << text;
  }
}

TEST(ParseNumber, KeepsToItsRange) {
  EXPECT_EQ(*ParseNumber("0.1", 0.1, 0.99), 0.1);
  EXPECT_EQ(*ParseNumber(".5", 0.1, 0.99), 0.5);
  for (const char* text : {"", "nan", "inf", "0.09", "1", "90%", "0,5"}) {
    EXPECT_FALSE(ParseNumber(text, 0.1, 0.99).ok()) << text;
  }
}

TEST(ParseDuration, ReadsUnitsAndBareSeconds) {
  const auto parse = [](const char* text) {
    return *ParseDuration(text, absl::ZeroDuration(), absl::Hours(24));
  };
  EXPECT_EQ(parse("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(parse("1m30s"), absl::Seconds(90));
  EXPECT_EQ(parse("30"), absl::Seconds(30));
  EXPECT_EQ(parse("0"), absl::ZeroDuration());
}

TEST(ParseDuration, RefusesWhatIsOutOfRange) {
  for (const char* text : {"", "-1s", "25h", "inf", "30 parsecs", "99ms"}) {
    EXPECT_FALSE(ParseDuration(text, absl::Milliseconds(100), absl::Hours(24)).ok()) << text;
  }
}

TEST(ParseHostPort, TakesNamesIpv4AndBracketedIpv6) {
  for (const char* text : {"127.0.0.1:0", "localhost:50051", "[::]:65535", "[::1]:80"}) {
    EXPECT_EQ(*ParseHostPort(text), text);
  }
}

TEST(ParseHostPort, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "50051", ":50051", "host:", "host:65536", "host:-1", "::1:80",
                           "a/b:1", "host:12x", "[]:1"}) {
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
  }
}

TEST(ParseLinkAddress, TakesSocketPathsUpToTheSystemsLimit) {
  EXPECT_TRUE(ParseLinkAddress("unix:/run/lockstep.sock").ok());
  EXPECT_FALSE(ParseLinkAddress("unix:").ok());
  EXPECT_FALSE(ParseLinkAddress("unix:/" + std::string(107, 'x')).ok());
}

}  // namespace
}  // namespace lockstep::server
