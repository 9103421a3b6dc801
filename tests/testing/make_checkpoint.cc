// make-checkpoint: a Hugging Face directory with random weights, for benchmarks and for trying a
// model's shape.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/testing/random_checkpoint.h"

namespace lockstep::testing {
namespace {

struct Options {
  std::string config_path;
  std::string shape;
  std::string dtype = "bfloat16";
  std::string directory;
  uint64_t seed = 1;
  int num_shards = 1;
  bool without_tokenizer = false;
};

absl::StatusOr<std::string> ReadConfig(const Options& options, StorageType storage) {
  if (!options.shape.empty()) return PublishedShapeConfig(options.shape, storage);
  std::ifstream file(options.config_path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return absl::NotFoundError("cannot read " + options.config_path);
  return text.str();
}

// One line on stderr, rewritten at every tenth of a second; only its end where stderr is not a
// terminal.
class ProgressLine {
 public:
  void operator()(int64_t bytes_written, int64_t bytes_total) {
    const auto now = std::chrono::steady_clock::now();
    const bool is_done = bytes_written == bytes_total;
    if (!is_done && (!is_terminal_ || now - last_ < std::chrono::milliseconds(100))) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    std::fprintf(stderr, "\r%.2f of %.2f GB, %.1f s%s", bytes_written / 1e9, bytes_total / 1e9,
                 seconds, is_done ? "\n" : "");
  }

 private:
  const bool is_terminal_ = isatty(STDERR_FILENO) == 1;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = start_;
};

absl::Status Run(const Options& options) {
  const absl::StatusOr<StorageType> storage = ParseStorageType(options.dtype);
  if (!storage.ok()) return storage.status();
  const absl::StatusOr<std::string> config = ReadConfig(options, *storage);
  if (!config.ok()) return config.status();
  return WriteRandomCheckpoint(options.directory, {.config_json = *config,
                                                   .seed = options.seed,
                                                   .storage = *storage,
                                                   .num_shards = options.num_shards,
                                                   .with_tokenizer = !options.without_tokenizer,
                                                   .progress = ProgressLine()});
}

}  // namespace
}  // namespace lockstep::testing

int main(int argc, char** argv) {
  lockstep::testing::Options options;
  CLI::App app("Writes a Hugging Face Llama directory with seeded random weights.",
               "make-checkpoint");
  auto* source = app.add_option_group("model", "What to make")->require_option(1);
  source->add_option("--config", options.config_path, "Take the shape from this config.json")
      ->check(CLI::ExistingFile);
  source->add_option("--shape", options.shape,
                     "Take a published model's shape: smollm2-135m, llama-3.2-1b or llama-3-8b");
  app.add_option("--dtype", options.dtype, "float32, float16 or bfloat16")->capture_default_str();
  app.add_option("--seed", options.seed, "Other seeds give other weights")->capture_default_str();
  app.add_option("--shards", options.num_shards, "Number of safetensors files")
      ->capture_default_str();
  app.add_flag("--no-tokenizer", options.without_tokenizer,
               "Leave the byte-level placeholder tokenizer out");
  app.add_option("OUT_DIR", options.directory, "Where to write; created where needed")->required();
  CLI11_PARSE(app, argc, argv);

  const absl::Status status = lockstep::testing::Run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "make-checkpoint: %s\n", std::string(status.message()).c_str());
  return 1;
}
