// Aborts when the scheduler's own bookkeeping is wrong: going on would hand one sequence's KV cache
// to another.
#ifndef LOCKSTEP_SERVER_SCHEDULER_INVARIANT_H_
#define LOCKSTEP_SERVER_SCHEDULER_INVARIANT_H_

#include <cstdio>
#include <cstdlib>

// Active in every build; never for input that comes from outside the process.
#define LOCKSTEP_INVARIANT(condition, message)                                             \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, (message), #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)

#endif  // LOCKSTEP_SERVER_SCHEDULER_INVARIANT_H_
