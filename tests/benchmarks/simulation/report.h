// A simulation's result for people and for programs.
#ifndef LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_REPORT_H_
#define LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_REPORT_H_

#include <string>

#include "tests/benchmarks/simulation/simulation.h"

namespace lockstep::simulation {

// Durations in seconds.
std::string ToJson(const SimulationOptions& options, const SimulationResult& result);

std::string ToText(const SimulationOptions& options, const SimulationResult& result);

}  // namespace lockstep::simulation

#endif  // LOCKSTEP_TESTS_BENCHMARKS_SIMULATION_REPORT_H_
