#ifndef LOCKSTEP_SERVER_RPC_UTF8_H_
#define LOCKSTEP_SERVER_RPC_UTF8_H_

#include <cstddef>
#include <string_view>

namespace lockstep::server {

// The length of the longest valid UTF-8 prefix (RFC 3629: no surrogates, no overlong forms, at most
// U+10FFFF) that ends at a character's border; text.size() if all of it is valid.
std::size_t ValidUtf8Prefix(std::string_view text);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_UTF8_H_
