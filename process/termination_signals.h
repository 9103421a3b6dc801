// SIGTERM and SIGINT as something to poll.
#ifndef LOCKSTEP_PROCESS_TERMINATION_SIGNALS_H_
#define LOCKSTEP_PROCESS_TERMINATION_SIGNALS_H_

namespace lockstep {

// Blocks the two signals for this thread and those that it starts from now on, and returns a
// descriptor (non-blocking, closed on exec) that gives them as signalfd_siginfo: call before any
// other thread runs. The caller owns it.
int TakeTerminationSignals();

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_TERMINATION_SIGNALS_H_
