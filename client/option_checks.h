// Checks of command-line values beside CLI11's own.
#ifndef LOCKSTEP_CLIENT_OPTION_CHECKS_H_
#define LOCKSTEP_CLIENT_OPTION_CHECKS_H_

#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "lockstep/v1/prompt.pb.h"

namespace lockstep::client {

// Has every option of `app` and its subcommands that takes a number refuse what is none: CLI11
// takes an empty value for an absent one, wraps whole numbers at 64 bits, and finds NaN in every
// range. Whole numbers are decimal. To be called when all options have been added.
void CheckNumbers(CLI::App& app);

// Refuses an empty value.
CLI::Validator NotEmpty();

// Token ids, such as 1,306,4658.
CLI::Validator TokenIdList();

// Appends those of a text that TokenIdList() has let pass. False at the first that is none.
bool AddTokenIds(const std::string& text, v1::TokenIds& token_ids);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_OPTION_CHECKS_H_
