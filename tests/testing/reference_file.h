// Committed reference values. A file that is not as it must be ends the process, with its name.
#ifndef LOCKSTEP_TESTS_TESTING_REFERENCE_FILE_H_
#define LOCKSTEP_TESTS_TESTING_REFERENCE_FILE_H_

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/functional/function_ref.h"

namespace lockstep::testing {

[[noreturn]] void EndForBadReference(const std::filesystem::path& path, const char* what);

// Parses the JSON file and has `read` take what it needs, which may throw nlohmann::json's errors.
void ReadReference(const std::filesystem::path& path,
                   absl::FunctionRef<void(const nlohmann::json& reference)> read);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_REFERENCE_FILE_H_
