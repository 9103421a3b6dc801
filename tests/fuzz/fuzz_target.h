// What libFuzzer calls, and driver.cc where there is no libFuzzer: one function for each parser of
// outside data.
#ifndef LOCKSTEP_TESTS_FUZZ_FUZZ_TARGET_H_
#define LOCKSTEP_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>

// Must return 0 and must neither crash nor keep anything, whatever the bytes are.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // LOCKSTEP_TESTS_FUZZ_FUZZ_TARGET_H_
