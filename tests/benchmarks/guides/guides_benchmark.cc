// What guides cost, over a vocabulary of a published model's size: compiling one, and the mask of
// each token of random answers.
//
//   guides-benchmark TOKENIZER_DIRECTORY GUIDES_FILE NUM_ANSWERS
//
// GUIDES_FILE is a JSON array of {"name", "kind", "text"}. Prints one JSON array. Times are CPU
// time of the thread, so that neighbours do not count.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "server/text/guide.h"

namespace lockstep::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxAnswerTokens = 128;
constexpr int32_t kEndToken = 0;

double Microseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

double Percentile(std::vector<double>& values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

GuideSpec::Kind KindOf(const std::string& name) {
  if (name == "json_schema") return GuideSpec::Kind::kJsonSchema;
  if (name == "regex") return GuideSpec::Kind::kRegex;
  if (name == "grammar") return GuideSpec::Kind::kLark;
  return GuideSpec::Kind::kChoice;
}

// Tokens drawn from those that the masks allow.
class RandomAnswers {
 public:
  explicit RandomAnswers(int32_t vocab_size)
      : vocab_size_(vocab_size), mask_(static_cast<size_t>(vocab_size + 31) / 32) {}

  absl::Status Write(const Guide& guide) {
    absl::StatusOr<GuideState> state = guide.Start();
    if (!state.ok()) return state.status();
    for (int i = 0; i < kMaxAnswerTokens; ++i) {
      const double begin = Microseconds();
      absl::Status status = state->ComputeMask(absl::MakeSpan(mask_));
      if (!status.ok()) return status;
      const double masked = Microseconds();
      const int32_t token = Draw();
      if (token == kEndToken) break;
      const double drawn = Microseconds();
      const absl::StatusOr<bool> complete = state->Accept(token);
      times.push_back(masked - begin + (Microseconds() - drawn));
      if (!complete.ok()) return complete.status();
      if (*complete) break;
    }
    return absl::OkStatus();
  }

  std::vector<double> times;  // of a mask and of taking the token, microseconds

 private:
  int32_t Draw() {
    // From a random place on, so that the whole mask need not be listed.
    const auto start = static_cast<int32_t>(random_() % static_cast<uint64_t>(vocab_size_));
    for (int32_t i = 0; i < vocab_size_; ++i) {
      const int32_t id = (start + i) % vocab_size_;
      if ((mask_[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) return id;
    }
    return kEndToken;
  }

  const int32_t vocab_size_;
  std::vector<uint32_t> mask_;
  std::mt19937_64 random_{1};
};

absl::StatusOr<Json> Measure(const GuideCompiler& compiler, int32_t vocab_size, const Json& guide,
                             int num_answers) {
  const GuideSpec spec = {KindOf(guide.at("kind")), guide.at("text").get<std::string>()};
  const double begin = Microseconds();
  const auto compiled = compiler.Compile(spec);
  if (!compiled.ok()) return compiled.status();
  const double compile_us = Microseconds() - begin;
  RandomAnswers answers(vocab_size);
  for (int i = 0; i < num_answers; ++i) {
    if (absl::Status status = answers.Write(**compiled); !status.ok()) return status;
  }
  return Json{{"name", guide.at("name")},
              {"compile_us", compile_us},
              {"num_masks", answers.times.size()},
              {"p50_us", Percentile(answers.times, 0.5)},
              {"p99_us", Percentile(answers.times, 0.99)},
              {"max_us", answers.times.back()}};
}

absl::Status Run(const char* directory, const char* guides_file, int num_answers) {
  const auto text = TextModel::Load(directory);
  if (!text.ok()) return text.status();
  const auto vocab_size = static_cast<int32_t>((*text)->vocab_size());
  const auto compiler = GuideCompiler::Create(**text, vocab_size, std::vector<int32_t>{kEndToken});
  if (!compiler.ok()) return compiler.status();
  std::ifstream file(guides_file);
  Json results = Json::array();
  for (const Json& guide : Json::parse(file)) {
    const absl::StatusOr<Json> measured = Measure(*compiler, vocab_size, guide, num_answers);
    if (!measured.ok()) return measured.status();
    results.push_back(*measured);
  }
  std::printf("%s\n", results.dump().c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep::server

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: guides-benchmark TOKENIZER_DIRECTORY GUIDES_FILE NUM_ANSWERS\n");
    return 2;
  }
  const absl::Status status = lockstep::server::Run(argv[1], argv[2], std::atoi(argv[3]));
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
