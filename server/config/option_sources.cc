#include "server/config/option_sources.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "process/command_line.h"
#include "process/config_file.h"
#include "server/config/option_table.h"

namespace lockstep::server {
namespace {

constexpr char kConfigOption[] = "config";

// Variables of Lockstep's that are no options of the server.
constexpr absl::string_view kOtherVariables[] = {"LOCKSTEP_POOL_TOKEN", "LOCKSTEP_TARGET"};

bool IsOption(absl::string_view name) {
  const auto& table = ServerOptionTable();
  return name == kConfigOption || std::any_of(table.begin(), table.end(),
                                              [&](const auto& spec) { return spec.name == name; });
}

// Edits (insert, delete, replace one character) that turn `a` into `b`.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({replace, row[j] + 1, row[j - 1] + 1}));
    }
  }
  return row[b.size()];
}

// "; did you mean --x?" or a pointer to --help.
std::string Suggestion(absl::string_view name) {
  const OptionSpec* nearest = nullptr;
  size_t distance = 4;  // beyond three edits a guess is noise
  for (const OptionSpec& spec : ServerOptionTable()) {
    const size_t candidate = EditDistance(name, spec.name);
    if (candidate < distance) std::tie(nearest, distance) = std::pair(&spec, candidate);
  }
  return nearest != nullptr ? absl::StrCat("; did you mean --", nearest->name, "?")
                            : std::string("; --help lists them");
}

std::string HelpText(const OptionSpec& spec) {
  return spec.default_text.empty() ? spec.help
                                   : absl::StrCat(spec.help, " [default: ", spec.default_text, "]");
}

void Declare(CLI::App& app) {
  DeclareHelpAndVersion(app);
  app.add_option("--config")
      ->type_name("FILE")
      ->description(
          "File with `name = value` lines, one for each option, without the dashes; values with "
          "spaces, commas or # in quotes");
  for (const OptionSpec& spec : ServerOptionTable()) {
    CLI::Option* option =
        spec.value_name.empty() ? app.add_flag("--" + spec.name) : app.add_option("--" + spec.name);
    if (!spec.value_name.empty()) option->type_name(spec.value_name)->expected(1);
    option->description(HelpText(spec))->group(spec.group);
  }
  for (CLI::Option* option : app.get_options()) {
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
  app.allow_extras();
}

absl::Status CheckExtras(const std::vector<std::string>& extras) {
  if (extras.empty()) return absl::OkStatus();
  const std::string& word = extras.front();
  if (!absl::StartsWith(word, "-")) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument '", word,
                     "': every option is --name value; the model is --model DIR"));
  }
  const std::string name = word.substr(0, word.find('='));
  const size_t dashes = std::min(name.find_first_not_of('-'), name.size());
  return absl::InvalidArgumentError(
      absl::StrCat("unknown option ", name, Suggestion(name.substr(dashes))));
}

absl::Status Take(const CLI::Option& option, SourcedValues& values) {
  const std::string name = option.get_single_name();
  const std::vector<std::string> given = option.results();
  if (given.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("--", name, " is given ", given.size(),
                                                   " times (", absl::StrJoin(given, ", "),
                                                   "): give it once"));
  }
  if (given.empty()) return absl::OkStatus();
  const std::string& value = given.front();
  if (const std::string taken = value.substr(0, value.find('='));
      absl::StartsWith(taken, "--") && IsOption(taken.substr(2))) {
    return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value, ",
                                                   option.get_type_name(), ", but ", taken,
                                                   " follows: write --", name, " VALUE"));
  }
  values[name] = {value, "--" + name};
  return absl::OkStatus();
}

constexpr char kFooter[] =
    "Every option is also an environment variable (--max-num-seqs: LOCKSTEP_MAX_NUM_SEQS) and a "
    "key of the --config "
    "file (max-num-seqs = 64).\nA flag counts before the environment, the environment before the "
    "file, the file "
    "before the default.\n\nExit status: 0 after SIGTERM or SIGINT, 1 unexpected failure, 2 bad "
    "option, model "
    "directory or address,\n3 a worker died, failed or did not answer.";

}  // namespace

absl::StatusOr<CommandLineValues> ReadCommandLine(int argc, const char* const* argv) {
  CLI::App app("lockstep-server: serves a Llama checkpoint over gRPC from tensor-parallel workers.",
               "lockstep-server");
  app.footer(kFooter);
  Declare(app);
  CommandLineValues result;
  absl::StatusOr<std::string> text = ReadArguments(app, argc, argv);
  if (!text.ok()) return text.status();
  result.text_to_print = *std::move(text);
  if (!result.text_to_print.empty()) return result;
  // Options first: one that has swallowed another one's name leaves that one's value over.
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_single_name() == "help" || option->get_single_name() == "version") continue;
    if (absl::Status status = Take(*option, result.values); !status.ok()) return status;
  }
  if (absl::Status status = CheckExtras(app.remaining()); !status.ok()) return status;
  return result;
}

std::string VariableName(absl::string_view option_name) {
  return absl::StrCat("LOCKSTEP_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(option_name, {{"-", "_"}})));
}

SourcedValues ReadEnvironment(const Environment& environment,
                              std::vector<std::string>& unknown_variables) {
  SourcedValues values;
  for (const auto& [variable, value] : environment) {
    if (!absl::StartsWith(variable, "LOCKSTEP_")) continue;
    const std::string name =
        absl::AsciiStrToLower(absl::StrReplaceAll(variable.substr(9), {{"_", "-"}}));
    if (IsOption(name) && VariableName(name) == variable) {
      values[name] = {value, variable};
    } else if (std::find(std::begin(kOtherVariables), std::end(kOtherVariables), variable) ==
               std::end(kOtherVariables)) {
      unknown_variables.push_back(variable);
    }
  }
  return values;
}

absl::StatusOr<SourcedValues> ReadOptionFile(const std::string& path) {
  const auto is_option = [](absl::string_view name) {
    return IsOption(name) && name != kConfigOption;
  };
  absl::StatusOr<std::vector<ConfigLine>> lines = ReadConfigFile(path, is_option, Suggestion);
  if (!lines.ok()) return lines.status();
  SourcedValues values;
  for (ConfigLine& line : *lines) {
    values[line.name] = {std::move(line.value), std::move(line.source)};
  }
  return values;
}

}  // namespace lockstep::server
