// What a request may ask for at most. Each limit is named in the error that enforces it.
#ifndef LOCKSTEP_SERVER_ADMISSION_LIMITS_H_
#define LOCKSTEP_SERVER_ADMISSION_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace lockstep::server::limits {

inline constexpr std::size_t kRequestIdLength = 128;
inline constexpr double kTemperature = 100;
inline constexpr double kPenalty = 2;
inline constexpr double kRepetitionPenalty = 100;
inline constexpr double kLogitBias = 100;
inline constexpr std::size_t kLogitBiases = 4096;
inline constexpr std::size_t kAllowedTokenIds = 65536;
inline constexpr uint32_t kSequences = 128;
inline constexpr int32_t kPriority = 100;  // and as far below 0
inline constexpr std::size_t kStopStrings = 64;
inline constexpr std::size_t kStopStringBytes = 1024;
inline constexpr std::size_t kStopTokenIds = 1024;
inline constexpr uint32_t kLogprobs = 20;
inline constexpr std::size_t kGuideBytes = std::size_t{1} << 20;
inline constexpr std::size_t kGuideChoices = 4096;
inline constexpr std::size_t kCacheSaltBytes = 1024;
inline constexpr std::size_t kChatMessages = 4096;
inline constexpr std::size_t kForwardPrompts = 1024;

// Of all logits in one ForwardResponse.
inline constexpr uint64_t kForwardResponseBytes = uint64_t{1} << 30;

// A text longer than this many bytes per token of the context is refused before the tokenizer sees
// it. The longest tokens in use (runs of spaces) are longer, but no text is made of them alone.
inline constexpr std::size_t kTextBytesPerToken = 64;
// Never below this, so that small contexts still get the exact error in tokens.
inline constexpr std::size_t kMinTextBytes = std::size_t{64} << 10;
// No text gives more tokens than it has bytes, but for these: BOS, EOS, a space in front. So many
// token ids are taken, that what a text was tokenized to can always be sent back.
inline constexpr std::size_t kTokensBesideText = 16;

}  // namespace lockstep::server::limits

#endif  // LOCKSTEP_SERVER_ADMISSION_LIMITS_H_
