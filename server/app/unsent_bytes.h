#ifndef LOCKSTEP_SERVER_APP_UNSENT_BYTES_H_
#define LOCKSTEP_SERVER_APP_UNSENT_BYTES_H_

#include <cstdint>

namespace lockstep::server {

// Bytes that this process has written to the TCP connections that came to `port`, and that their
// peers' kernels do not have yet. A connection that is closed before loses them as soon as the peer
// sends anything more.
int64_t NumUnsentBytes(uint16_t port);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_UNSENT_BYTES_H_
