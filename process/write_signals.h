#ifndef LOCKSTEP_PROCESS_WRITE_SIGNALS_H_
#define LOCKSTEP_PROCESS_WRITE_SIGNALS_H_

namespace lockstep {

// From now on a write that fails is an error from its call, and no signal that ends the process:
// whoever reads its output may be gone before it is (SIGPIPE), and a file for results may not be
// allowed to grow (SIGXFSZ, ulimit -f).
void IgnoreWriteSignals();

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_WRITE_SIGNALS_H_
