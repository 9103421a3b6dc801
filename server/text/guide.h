// Guides: which tokens may come next for an answer to have a given form (llguidance).
#ifndef LOCKSTEP_SERVER_TEXT_GUIDE_H_
#define LOCKSTEP_SERVER_TEXT_GUIDE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/text/text_model.h"

struct LsGuideCompiler;
struct LsGuide;
struct LsGuideState;

namespace lockstep::server {

// What an answer's form is given by.
struct GuideSpec {
  enum class Kind {
    kJsonSchema,  // a JSON schema, as text; "x-guidance" in it sets llguidance's options
    kRegex,       // the whole answer matches; the syntax of Rust's regex crate
    kLark,        // a grammar in llguidance's variant of Lark, that begins at `start`
    kChoice,      // one of several texts: a JSON array of them
  };
  Kind kind = Kind::kJsonSchema;
  std::string text;

  bool operator==(const GuideSpec& other) const { return kind == other.kind && text == other.text; }
  template <typename H>
  friend H AbslHashValue(H h, const GuideSpec& spec) {
    return H::combine(std::move(h), spec.kind, spec.text);
  }
};

// Where one answer is within its guide. Not thread-safe.
class GuideState {
 public:
  // The tokens that may come next: bit i % 32 of word i / 32 says whether token i may. An end token
  // may where the answer is complete. FAILED_PRECONDITION: the guide is too complex here.
  //
  //   mask  [ceil(vocab_size / 32)]
  absl::Status ComputeMask(absl::Span<uint32_t> mask);

  // Takes the next token; true where the answer is complete and nothing may follow.
  // FAILED_PRECONDITION: the token may not come here, or the guide is too complex.
  absl::StatusOr<bool> Accept(int32_t token);

 private:
  friend class Guide;
  struct Free {
    void operator()(LsGuideState* state) const;
  };
  explicit GuideState(LsGuideState* state) : state_(state) {}

  std::unique_ptr<LsGuideState, Free> state_;
};

// A compiled guide at its beginning. Immutable; thread-safe.
class Guide {
 public:
  // For one answer.
  absl::StatusOr<GuideState> Start() const;

 private:
  friend class GuideCompiler;
  struct Free {
    void operator()(LsGuide* guide) const;
  };
  explicit Guide(LsGuide* guide) : guide_(guide) {}

  const std::unique_ptr<LsGuide, Free> guide_;
};

// Compiles guides for one vocabulary. Immutable; thread-safe.
class GuideCompiler {
 public:
  // Takes some tenths of a second for a vocabulary of 128k tokens.
  //
  //   vocab_size  the model's, which may be padded beyond the tokenizer's
  //   end_tokens  what ends an answer; may be empty
  static absl::StatusOr<GuideCompiler> Create(const TextModel& text, int32_t vocab_size,
                                              absl::Span<const int32_t> end_tokens);

  // INVALID_ARGUMENT says what is wrong with the guide, or which limit it exceeds. Mostly takes
  // milliseconds, but there are small schemas that take very long.
  absl::StatusOr<std::shared_ptr<const Guide>> Compile(const GuideSpec& spec) const;

 private:
  struct Free {
    void operator()(LsGuideCompiler* compiler) const;
  };
  explicit GuideCompiler(LsGuideCompiler* compiler) : compiler_(compiler) {}

  std::unique_ptr<LsGuideCompiler, Free> compiler_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_TEXT_GUIDE_H_
