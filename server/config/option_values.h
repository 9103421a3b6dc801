// Texts to values. Every error says what was expected; the caller adds which option it was.
#ifndef LOCKSTEP_SERVER_CONFIG_OPTION_VALUES_H_
#define LOCKSTEP_SERVER_CONFIG_OPTION_VALUES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lockstep::server {

absl::StatusOr<int64_t> ParseInteger(absl::string_view text, int64_t minimum, int64_t maximum);

// Without a unit; 0.5 and .5 and 5e-1 are the same.
absl::StatusOr<double> ParseNumber(absl::string_view text, double minimum, double maximum);

// true, false, 1, 0, yes, no, on, off.
absl::StatusOr<bool> ParseBool(absl::string_view text);

// Bytes: a number, alone or with KiB, MiB, GiB, TiB (powers of 1024; the B may be left out) or KB,
// MB, GB, TB (powers of 1000).
absl::StatusOr<uint64_t> ParseBytes(absl::string_view text);

// A number with ms, s, m or h, or alone: seconds.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text, absl::Duration minimum,
                                             absl::Duration maximum);

absl::StatusOr<std::string> ParseChoice(absl::string_view text,
                                        const std::vector<std::string>& choices);

// host:port, [IPv6]:port; port 0 means any free one. Returned as given.
absl::StatusOr<std::string> ParseHostPort(absl::string_view text);

// ParseHostPort, or unix:/path of a socket.
absl::StatusOr<std::string> ParseLinkAddress(absl::string_view text);

// The port of an address that ParseHostPort has accepted.
int PortOf(absl::string_view host_port);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_CONFIG_OPTION_VALUES_H_
