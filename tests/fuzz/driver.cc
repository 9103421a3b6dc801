// A small fuzzer for builds without libFuzzer: the whole corpus, and a fixed number of seeded
// mutations of it. Every run of the same build gives the same inputs.
//
//     fuzz-NAME CORPUS_DIR NUM_MUTATIONS
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

namespace lockstep::testing {
namespace {

constexpr size_t kMaxInputBytes = 64 << 10;
// One input may take this long before it counts as a hang.
constexpr unsigned kSecondsPerInput = 60;

// What breaks parsers of JSON, templates and length-prefixed bytes.
constexpr std::array<std::string_view, 30> kWords = {"\"",
                                                     "\\u0000",
                                                     "\\ud800",
                                                     "{",
                                                     "}",
                                                     "[",
                                                     "]",
                                                     ",",
                                                     ":",
                                                     "null",
                                                     "true",
                                                     "-1",
                                                     "0",
                                                     "1e999",
                                                     "-0.0",
                                                     "18446744073709551616",
                                                     "9223372036854775807",
                                                     "4294967296",
                                                     "2147483648",
                                                     "0.0000000000000000001",
                                                     "NaN",
                                                     "\xff",
                                                     "\xc3",
                                                     "{{",
                                                     "}}",
                                                     "{%",
                                                     "%}",
                                                     "{% for x in range(9) %}",
                                                     "\n",
                                                     "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["};

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& corpus) : corpus_(corpus) {}

  std::string Next() {
    std::string input = Pick(corpus_);
    const size_t num_changes = 1 + Below(4);
    for (size_t i = 0; i < num_changes; ++i) Change(input);
    input.resize(std::min(input.size(), kMaxInputBytes));
    return input;
  }

 private:
  // Not std::uniform_int_distribution, whose results differ from library to library.
  size_t Below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  template <typename List>
  std::string Pick(const List& list) {
    return std::string(list[Below(list.size())]);
  }

  void Change(std::string& input) {
    const size_t at = Below(input.size() + 1);
    const size_t length = Below(std::min<size_t>(input.size() - at, 32) + 1);
    switch (Below(6)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << Below(8)));
        return;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(random_());
        return;
      case 2:
        input.erase(at, length);
        return;
      case 3:
        input.insert(at, std::string(input, at, length));
        return;
      case 4:
        input.replace(at, length, Pick(kWords));
        return;
      default:
        Splice(input, at);
    }
  }
  // The beginning of this one and the end of another.
  void Splice(std::string& input, size_t at) {
    const std::string other = Pick(corpus_);
    input.erase(at);
    input.append(other, Below(other.size() + 1), std::string::npos);
  }

  const std::vector<std::string>& corpus_;
  std::mt19937_64 random_{20240611};
};

std::vector<std::string> ReadCorpus(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) paths.push_back(entry);
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

// The input that is being run, for the report of a crash.
const std::string* current = nullptr;

void Report(int signal) {
  static constexpr char kPath[] = "fuzz-crash.input";
  if (current != nullptr) {
    if (std::FILE* file = std::fopen(kPath, "wb")) {
      std::fwrite(current->data(), 1, current->size(), file);
      std::fclose(file);
      std::fprintf(stderr, "signal %d; the input is in %s\n", signal, kPath);
    }
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void RunOne(const std::string& input) {
  current = &input;
  alarm(kSecondsPerInput);
  // A copy of exactly this size, so that a read beyond the end is seen.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  if (LLVMFuzzerTestOneInput(bytes.data(), bytes.size()) != 0) std::abort();
  alarm(0);
}

int Run(const char* directory, const char* num_mutations) {
  for (int signal : {SIGABRT, SIGALRM, SIGFPE, SIGILL, SIGBUS}) std::signal(signal, Report);
  const std::vector<std::string> corpus = ReadCorpus(directory);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s holds no input\n", directory);
    return EXIT_FAILURE;
  }
  RunOne("");
  for (const std::string& input : corpus) RunOne(input);
  Mutator mutator(corpus);
  const long count = std::strtol(num_mutations, nullptr, 10);
  for (long i = 0; i < count; ++i) RunOne(mutator.Next());
  std::printf("%zu inputs and %ld mutations\n", corpus.size(), count);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s CORPUS_DIR NUM_MUTATIONS\n", argv[0]);
    return 2;
  }
  return lockstep::testing::Run(argv[1], argv[2]);
}
