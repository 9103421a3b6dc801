#include "client/terminal_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>

namespace lockstep::client {
namespace {

constexpr char kErase[] = "\r\x1b[K";

bool BeginsCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// What fits into a line of the terminal as it is now; all of it where the terminal does not say.
absl::string_view Fitting(absl::string_view text) {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return text;
  // The last column stays free: some terminals wrap as soon as it is written.
  return FirstCharacters(text, size.ws_col - 1U);
}

}  // namespace

absl::string_view FirstCharacters(absl::string_view text, size_t max_characters) {
  size_t num_characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!BeginsCharacter(text[i])) continue;
    if (num_characters == max_characters) return text.substr(0, i);
    ++num_characters;
  }
  return text;
}

TerminalLine::TerminalLine() : is_terminal_(isatty(STDERR_FILENO) != 0) {}

void TerminalLine::Show(absl::string_view text) {
  if (!is_terminal_) return;
  std::cerr << kErase << Fitting(text) << std::flush;
  shown_ = true;
}

void TerminalLine::Clear() {
  if (shown_) std::cerr << kErase << std::flush;
  shown_ = false;
}

}  // namespace lockstep::client
