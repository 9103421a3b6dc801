// What is wrong at the door of a server: status 2, before any port opens, and a message that names
// it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "tests/integration/real_server.h"
#include "tests/testing/server_process.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::ServerProcess;

class BadStartTest : public ::testing::Test {
 protected:
  static void ExpectRefusal(std::vector<std::string> arguments, const std::string& text) {
    auto server = ServerProcess::Spawn(ServerOptions(std::move(arguments)));
    ASSERT_TRUE(server.ok());
    EXPECT_EQ((*server)->WaitForExit(kPatience), 2) << (*server)->output();
    EXPECT_THAT((*server)->output(), HasSubstr(text));
    EXPECT_THAT((*server)->output(), Not(HasSubstr("listening on")));
  }
  // A copy of the demo model that the test then spoils.
  std::filesystem::path CopyOfDemoModel() {
    const std::filesystem::path copy = directory_.path() / "model";
    std::filesystem::copy(DemoModel(), copy);
    return copy;
  }
  static void EditConfig(const std::filesystem::path& model, const std::string& from,
                         const std::string& to) {
    std::ifstream in(model / "config.json");
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    ASSERT_THAT(text, HasSubstr(from));
    std::ofstream(model / "config.json") << absl::StrReplaceAll(text, {{from, to}});
  }

 private:
  testing::TemporaryDirectory directory_;
};

TEST_F(BadStartTest, MissingDirectory) {
  ExpectRefusal({"--model", "/no/such/model"}, "--model /no/such/model: no such directory");
}

TEST_F(BadStartTest, NotADirectory) {
  ExpectRefusal({"--model", (DemoModel() / "config.json").string()}, "not a directory");
}

TEST_F(BadStartTest, DirectoryWithoutWeights) {
  const auto model = CopyOfDemoModel();
  std::filesystem::remove(model / "model.safetensors");
  ExpectRefusal({"--model", model.string()}, "model.safetensors");
}

TEST_F(BadStartTest, HalfCopiedWeights) {
  const auto model = CopyOfDemoModel();
  const auto file = model / "model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  ExpectRefusal({"--model", model.string()}, "model.safetensors");
}

TEST_F(BadStartTest, DirectoryWithoutTokenizer) {
  const auto model = CopyOfDemoModel();
  std::filesystem::remove(model / "tokenizer.json");
  ExpectRefusal({"--model", model.string()}, "tokenizer.json");
}

TEST_F(BadStartTest, AnotherArchitecture) {
  const auto model = CopyOfDemoModel();
  EditConfig(model, "LlamaForCausalLM", "MixtralForCausalLM");
  ExpectRefusal({"--model", model.string()}, "MixtralForCausalLM");
}

TEST_F(BadStartTest, HeadsThatTheRanksDoNotDivide) {
  ExpectRefusal({"--model", LongModel().string(), "--tensor-parallel-size", "8"},
                "--tensor-parallel-size: ");
}

TEST_F(BadStartTest, ContextBeyondTheModels) {
  ExpectRefusal({"--model", LongModel().string(), "--max-model-len", "32769"}, "32768");
}

TEST_F(BadStartTest, UnknownFlag) {
  ExpectRefusal({"--model", DemoModel().string(), "--frobnicate", "1"},
                "unknown option --frobnicate");
}

TEST_F(BadStartTest, TooFewOpenFiles) {
  const ServerProcess::Options server = ServerOptions({"--model", DemoModel().string()});
  ServerProcess::Options limited;
  limited.binary = "/bin/sh";
  limited.arguments = {"-c", "ulimit -n 10 && exec \"$0\" \"$@\"", server.binary};
  limited.arguments.insert(limited.arguments.end(), server.arguments.begin(),
                           server.arguments.end());
  limited.takes_ports = false;
  auto process = ServerProcess::Spawn(limited);
  ASSERT_TRUE(process.ok());
  EXPECT_EQ((*process)->WaitForExit(kPatience), 2) << (*process)->output();
  EXPECT_THAT((*process)->output(), HasSubstr("10 files open at a time, and needs 40"));
}

TEST_F(BadStartTest, PortInUse) {
  auto server = StartServer(DemoModel(), 1);
  ASSERT_NE(server, nullptr);
  ExpectRefusal({"--model", DemoModel().string(), "--listen", server->address()},
                server->address());
  ExpectRefusal({"--model", DemoModel().string(), "--metrics-listen", server->metrics_address()},
                server->metrics_address());
}

TEST_F(BadStartTest, WorkersPortInUse) {
  auto server = StartServer(DemoModel(), 1);
  ASSERT_NE(server, nullptr);
  ExpectRefusal(
      {"--model", DemoModel().string(), "--external-workers", "--worker-listen", server->address()},
      server->address());
}

}  // namespace
}  // namespace lockstep
