#include "server/config/parse_server_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/config/option_table.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<ServerCommandLine> Parse(std::vector<const char*> arguments,
                                        const Environment& environment = {}) {
  arguments.insert(arguments.begin(), "lockstep-server");
  return ParseServerOptions(static_cast<int>(arguments.size()), arguments.data(), environment);
}

ServerOptions ParseGood(std::vector<const char*> arguments, const Environment& environment = {}) {
  auto result = Parse(std::move(arguments), environment);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->options : ServerOptions{};
}

// The error of a command line that has a model.
std::string ErrorOf(std::vector<const char*> arguments, const Environment& environment = {}) {
  arguments.insert(arguments.end(), {"--model", "llama"});
  const auto result = Parse(std::move(arguments), environment);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(result.status().message());
}

std::string WriteFile(const std::string& content) {
  static const testing::TemporaryDirectory directory;
  const std::string path = (directory.path() / "server.toml").string();
  std::ofstream(path) << content;
  return path;
}

TEST(ParseServerOptions, ReadsEveryKindOfValue) {
  const ServerOptions options =
      ParseGood({"--model", "/models/llama/", "--tensor-parallel-size=4", "--dtype", "bfloat16",
                 "--listen", "[::]:0", "--kv-cache-memory", "2GiB", "--grace-period", "5s",
                 "--block-size", "32", "--metrics-listen", "off", "--pin-cores"});
  EXPECT_EQ(options.model_dir, "/models/llama/");
  EXPECT_EQ(options.served_model_name, "llama");
  EXPECT_EQ(options.tensor_parallel_size, 4);
  EXPECT_EQ(options.dtype, "bfloat16");
  EXPECT_EQ(options.listen, "[::]:0");
  EXPECT_EQ(options.kv_cache_memory, uint64_t{2} << 30);
  EXPECT_EQ(options.grace_period, absl::Seconds(5));
  EXPECT_EQ(options.block_size, 32);
  EXPECT_EQ(options.metrics_listen, "");
  EXPECT_TRUE(options.pin_cores);
}

TEST(ParseServerOptions, PrefersFlagThenEnvironmentThenFile) {
  const std::string file = WriteFile(
      "# comment\nmax-num-seqs = 1\nblock_size = 8\nlisten = \"127.0.0.1:1\"\nmodel = \"a b\"\n");
  const Environment environment = {
      {"LOCKSTEP_CONFIG", file}, {"LOCKSTEP_MAX_NUM_SEQS", "2"}, {"LOCKSTEP_BLOCK_SIZE", "16"}};
  const ServerOptions options = ParseGood({"--max-num-seqs", "3"}, environment);
  EXPECT_EQ(options.max_num_seqs, 3);
  EXPECT_EQ(options.block_size, 16);
  EXPECT_EQ(options.listen, "127.0.0.1:1");
  EXPECT_EQ(options.model_dir, "a b");
  EXPECT_EQ(options.max_num_batched_tokens, ServerOptions{}.max_num_batched_tokens);
}

TEST(ParseServerOptions, NamesTheSourceTheValueAndTheLimitOfABadValue) {
  EXPECT_THAT(ErrorOf({"--max-num-seqs", "0"}),
              AllOf(HasSubstr("--max-num-seqs is '0'"), HasSubstr("from 1 to 4096")));
  EXPECT_THAT(ErrorOf({}, {{"LOCKSTEP_DTYPE", "int8"}}),
              AllOf(HasSubstr("LOCKSTEP_DTYPE is 'int8'"), HasSubstr("bfloat16")));
  const std::string file = WriteFile("block_size = 17\n");
  EXPECT_THAT(
      ErrorOf({"--config", file.c_str()}),
      AllOf(HasSubstr("block_size in " + file), HasSubstr("'17'"), HasSubstr("power of two")));
  EXPECT_THAT(ErrorOf({"--listen", "50051"}), HasSubstr("host:port"));
  for (const char* size : {"two", "0", "-1", "3", "16"}) {
    EXPECT_THAT(ErrorOf({"--tensor-parallel-size", size}), HasSubstr("1, 2, 4 or 8")) << size;
  }
  EXPECT_THAT(ErrorOf({"--served-model-name", "two\nlines"}), HasSubstr("line breaks"));
}

TEST(ParseServerOptions, RefusesUnknownOptionsAndSuggestsTheNearest) {
  EXPECT_THAT(ErrorOf({"--tensor-paralel-size", "2"}),
              AllOf(HasSubstr("unknown option --tensor-paralel-size"),
                    HasSubstr("did you mean --tensor-parallel-size?")));
  EXPECT_THAT(ErrorOf({"--frobnicate=1"}),
              AllOf(HasSubstr("unknown option --frobnicate;"), HasSubstr("--help")));
  EXPECT_THAT(ErrorOf({"llama-7b"}), HasSubstr("unexpected argument 'llama-7b'"));
}

TEST(ParseServerOptions, SaysWhichOptionLacksItsValue) {
  EXPECT_EQ(ErrorOf({"--enable-prefix-caching", "--max-num-seqs", "4"}),
            "--enable-prefix-caching needs a value, BOOL, but --max-num-seqs follows: write "
            "--enable-prefix-caching VALUE");
  EXPECT_THAT(ErrorOf({"--dtype", "--max-num-seqs=4"}),
              HasSubstr("--dtype needs a value, TYPE, but --max-num-seqs follows"));
}

TEST(ParseServerOptions, RefusesUnknownKeysAndSectionsOfTheFile) {
  EXPECT_THAT(ErrorOf({"--config", WriteFile("max-num-seq = 4\n").c_str()}),
              AllOf(HasSubstr("'max-num-seq'"), HasSubstr("--max-num-seqs?")));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("[server]\nlisten = 'a:1'\n").c_str()}),
              HasSubstr("[server]"));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("model: llama\n").c_str()}),
              HasSubstr("model: llama"));
  EXPECT_THAT(ErrorOf({"--config", "/no/such/file"}), HasSubstr("/no/such/file"));
  EXPECT_THAT(ErrorOf({"--config", WriteFile("# a\n\nblock_size = 8\n x\n").c_str()}),
              HasSubstr("line 4, 'x', is not name = value"));
}

TEST(ParseServerOptions, AQuotedValueOfTheFileIsTakenAsItStands) {
  const struct {
    const char* written;
    const char* value;
  } cases[] = {{"\"/x#y\"", "/x#y"},           {"'/x # y, [z]' # comment", "/x # y, [z]"},
               {"\"it's\"", "it's"},           {"'say \"a\"'", "say \"a\""},
               {"/plain # comment", "/plain"}, {"\"C:\\a\"\r", "C:\\a"}};
  for (const auto& each : cases) {
    const std::string file = WriteFile(absl::StrCat("model = ", each.written, "\n"));
    EXPECT_EQ(ParseGood({"--config", file.c_str()}).model_dir, each.value) << each.written;
  }
}

TEST(ParseServerOptions, RefusesLinesOfTheFileThatAreCutOffOrHoldMore) {
  const struct {
    const char* line;
    const char* reason;
  } cases[] = {{"model = \"/x", "'model', has a quote that is not closed"},
               {"model = '/x\"", "'model', has a quote that is not closed"},
               {"model = \"/x\" y", "behind its closing quote"},
               {"model = \"\"\"/x\"\"\"", "behind its closing quote"},
               {"block_size = [8,16", "'block_size', needs exactly one value"},
               {"block_size = [8]", "'block_size', needs exactly one value"},
               {"block_size = 8 16", "'block_size', needs exactly one value"},
               {"model = /x\"y\"", "'model', needs exactly one value"},
               {"model = /x#y", "'model', has a # within a word: write \"/x#y\""},
               {"model =", "'model', has no value"},
               {"= 4", "is not name = value"},
               {"pin-cores", "is not name = value"},
               {"[x", "is a section"}};
  for (const auto& each : cases) {
    const std::string file = WriteFile(absl::StrCat("# first\n", each.line));
    EXPECT_THAT(ErrorOf({"--config", file.c_str()}),
                AllOf(HasSubstr(file), HasSubstr("line 2"), HasSubstr(each.reason)))
        << each.line;
  }
  EXPECT_THAT(ErrorOf({"--config", WriteFile("block_size = 8\nblock-size = 8\n").c_str()}),
              HasSubstr("line 2 gives 'block-size' again"));
}

TEST(ParseServerOptions, RefusesAnOptionGivenTwice) {
  EXPECT_THAT(ErrorOf({"--dtype", "float16", "--dtype", "float32"}),
              AllOf(HasSubstr("--dtype"), HasSubstr("2 times"), HasSubstr("float16, float32")));
}

TEST(ParseServerOptions, RefusesAnOptionWithoutItsValue) {
  const auto result = Parse({"--model"});
  EXPECT_THAT(result.status().message(), HasSubstr("--model"));
}

TEST(ParseServerOptions, RefusesContradictions) {
  EXPECT_THAT(ErrorOf({"--worker-listen", "0.0.0.0:7000"}),
              AllOf(HasSubstr("--worker-listen"), HasSubstr("--external-workers")));
  EXPECT_THAT(ErrorOf({"--external-workers", "--pin-cores"}), HasSubstr("--pin-cores"));
  EXPECT_THAT(
      ErrorOf({"--max-num-batched-tokens", "16", "--max-num-seqs", "17"}),
      AllOf(HasSubstr("--max-num-batched-tokens is 16"), HasSubstr("--max-num-seqs of 17")));
  EXPECT_THAT(
      ErrorOf({"--listen", "0.0.0.0:9400"}),
      AllOf(HasSubstr("--listen"), HasSubstr("--metrics-listen (default)"), HasSubstr("9400")));
}

// Whether they can is for the workers to say, which need not be this build's.
TEST(ParseServerOptions, TakesTheDevicesThatWorkersMayHave) {
  EXPECT_EQ(ParseGood({"--model", "m"}).device, "cpu");
  EXPECT_EQ(ParseGood({"--model", "m", "--device", "cuda"}).device, "cuda");
  EXPECT_THAT(ErrorOf({"--device", "tpu"}), AllOf(HasSubstr("'tpu'"), HasSubstr("cuda")));
}

TEST(ParseServerOptions, AStepOnGpusIsLargerUnlessItsSizeIsGiven) {
  EXPECT_EQ(ParseGood({"--model", "m", "--device", "cuda"}).max_num_batched_tokens, 2048);
  EXPECT_EQ(ParseGood({"--model", "m", "--device", "cuda", "--max-num-batched-tokens", "512"})
                .max_num_batched_tokens,
            512);
}

TEST(ParseServerOptions, TheGpusShareIsBounded) {
  EXPECT_EQ(ParseGood({"--model", "m"}).gpu_memory_utilization, 0.9);
  EXPECT_EQ(ParseGood({"--model", "m", "--device", "cuda", "--gpu-memory-utilization", "0.5"})
                .gpu_memory_utilization,
            0.5);
  EXPECT_THAT(ErrorOf({"--gpu-memory-utilization", "90"}),
              AllOf(HasSubstr("--gpu-memory-utilization is '90'"), HasSubstr("0.1 to 0.99")));
}

TEST(ParseServerOptions, GraphsAreUsedUnlessTheyAreRefused) {
  EXPECT_FALSE(ParseGood({"--model", "m"}).enforce_eager);
  EXPECT_TRUE(ParseGood({"--model", "m", "--device", "cuda", "--enforce-eager"}).enforce_eager);
}

TEST(ParseServerOptions, WhatIsAboutGpusIsRefusedForOtherDevices) {
  const std::vector<std::vector<const char*>> cases = {{"--gpu-memory-utilization", "0.5"},
                                                       {"--enforce-eager"},
                                                       {"--profile-dir", "p"},
                                                       {"--profile-steps", "1:2"}};
  for (const std::vector<const char*>& arguments : cases) {
    EXPECT_THAT(ErrorOf(arguments), AllOf(HasSubstr(arguments[0]), HasSubstr("say --device cuda")));
  }
}

TEST(ParseServerOptions, StepsToProfileWithoutAPlaceForProfilesAreRefused) {
  EXPECT_THAT(ErrorOf({"--device", "cuda", "--profile-steps", "1:2"}),
              AllOf(HasSubstr("--profile-steps is '1:2'"), HasSubstr("add --profile-dir")));
}

TEST(ParseServerOptions, ProfilesAreRangesOfStepsInOrder) {
  const ServerOptions options = ParseGood(
      {"--model", "m", "--device", "cuda", "--profile-dir", "p", "--profile-steps", "5:10,100:1"});
  EXPECT_EQ(options.profile_dir, "p");
  ASSERT_EQ(options.profiles.size(), 2U);
  EXPECT_EQ(options.profiles[0].first, 5);
  EXPECT_EQ(options.profiles[0].count, 10);
  EXPECT_EQ(options.profiles[1].first, 100);
  for (const char* steps : {"", "5", "0:1", "5:0", "5:10,12:1", "5:10,15:1", "5:1,", "a:b"}) {
    EXPECT_THAT(ErrorOf({"--profile-steps", steps}), HasSubstr("FIRST:COUNT")) << steps;
  }
}

TEST(ParseServerOptions, TheLogHasFourLevels) {
  EXPECT_EQ(ParseGood({"--model", "m"}).log_level, "info");
  EXPECT_EQ(ParseGood({"--model", "m", "--log-level", "warn"}).log_level, "warn");
  EXPECT_THAT(ErrorOf({"--log-level", "loud"}),
              AllOf(HasSubstr("--log-level is 'loud'"), HasSubstr("debug, info, warn")));
}

TEST(ParseServerOptions, ExternalWorkersHaveADefaultAddress) {
  EXPECT_EQ(ParseGood({"--model", "m", "--external-workers"}).worker_listen, kDefaultWorkerListen);
  EXPECT_EQ(ParseGood({"--model", "m", "--external-workers", "--worker-listen", "unix:/run/l.sock"})
                .worker_listen,
            "unix:/run/l.sock");
}

TEST(ParseServerOptions, StepBudgetAndRunningSequencesFollowEachOther) {
  EXPECT_EQ(ParseGood({"--model", "m", "--max-num-batched-tokens", "16"}).max_num_seqs, 16);
  EXPECT_EQ(ParseGood({"--model", "m", "--max-num-seqs", "4096"}).max_num_batched_tokens, 4096);
}

TEST(ParseServerOptions, NeedsAModel) {
  EXPECT_THAT(Parse({}).status().message(), HasSubstr("--model is missing"));
}

TEST(ParseServerOptions, HelpNamesEveryOptionAndItsDefault) {
  const auto result = Parse({"--help"});
  ASSERT_TRUE(result.ok());
  // Its lines are broken and indented.
  const std::string text = absl::StrJoin(
      absl::StrSplit(result->text_to_print, absl::ByAnyChar(" \n"), absl::SkipEmpty()), " ");
  for (const OptionSpec& spec : ServerOptionTable()) {
    std::string expected = absl::StrCat("--", spec.name, " ");
    if (!spec.value_name.empty()) absl::StrAppend(&expected, spec.value_name, " ");
    absl::StrAppend(&expected, spec.help);
    if (!spec.default_text.empty()) {
      absl::StrAppend(&expected, " [default: ", spec.default_text, "]");
    }
    EXPECT_THAT(text, HasSubstr(expected));
  }
  for (const char* other : {"--config FILE", "[default: 256]", "LOCKSTEP_"}) {
    EXPECT_THAT(text, HasSubstr(other));
  }
}

TEST(ParseServerOptions, VersionIsPrinted) {
  EXPECT_THAT(Parse({"--version"})->text_to_print, HasSubstr("lockstep-server "));
}

TEST(ParseServerOptions, ReportsVariablesThatNobodyKnows) {
  const auto result =
      Parse({"--model", "m"},
            {{"LOCKSTEP_MAX_SEQS", "4"}, {"LOCKSTEP_POOL_TOKEN", "secret"}, {"HOME", "/"}});
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->unknown_variables, ElementsAre("LOCKSTEP_MAX_SEQS"));
}

}  // namespace
}  // namespace lockstep::server
