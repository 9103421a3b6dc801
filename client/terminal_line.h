// A line on stderr that says what is going on, redrawn in place.
#ifndef LOCKSTEP_CLIENT_TERMINAL_LINE_H_
#define LOCKSTEP_CLIENT_TERMINAL_LINE_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace lockstep::client {

// The first characters of a UTF-8 text, at most so many.
absl::string_view FirstCharacters(absl::string_view text, size_t max_characters);

// Erases its line when it goes. Only one at a time.
class TerminalLine {
 public:
  TerminalLine();
  ~TerminalLine() { Clear(); }
  TerminalLine(const TerminalLine&) = delete;
  TerminalLine& operator=(const TerminalLine&) = delete;

  // False: stderr is no terminal, and nothing can be redrawn there.
  bool is_terminal() const { return is_terminal_; }

  // Replaces what is shown, as far as the terminal is wide: what wraps cannot be redrawn. Nothing
  // where there is no terminal.
  void Show(absl::string_view text);
  void Clear();

 private:
  const bool is_terminal_;
  bool shown_ = false;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_TERMINAL_LINE_H_
