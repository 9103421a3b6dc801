#ifndef LOCKSTEP_TESTS_TESTING_WALL_CLOCK_H_
#define LOCKSTEP_TESTS_TESTING_WALL_CLOCK_H_

#include "absl/time/time.h"

namespace lockstep::testing {

// Sets this process's wall clock forward or back by `step`, as an administrator or a time service
// does: for everything in a program that calls this, its libraries included. Other clocks go on.
void StepWallClock(absl::Duration step);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_WALL_CLOCK_H_
