#include "process/write_signals.h"

#include <signal.h>

namespace lockstep {

void IgnoreWriteSignals() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

}  // namespace lockstep
