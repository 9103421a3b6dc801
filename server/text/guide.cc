#include "server/text/guide.h"

#include "server/text/guide_ffi.h"
#include "server/text/rust_border.h"

namespace lockstep::server {
namespace {

LsGuideKind ToFfi(GuideSpec::Kind kind) {
  switch (kind) {
    case GuideSpec::Kind::kJsonSchema:
      return kLsGuideJsonSchema;
    case GuideSpec::Kind::kRegex:
      return kLsGuideRegex;
    case GuideSpec::Kind::kLark:
      return kLsGuideLark;
    case GuideSpec::Kind::kChoice:
      break;
  }
  return kLsGuideChoice;
}

}  // namespace

void GuideState::Free::operator()(LsGuideState* state) const { ls_guide_state_free(state); }
void Guide::Free::operator()(LsGuide* guide) const { ls_guide_free(guide); }
void GuideCompiler::Free::operator()(LsGuideCompiler* compiler) const {
  ls_guide_compiler_free(compiler);
}

absl::Status GuideState::ComputeMask(absl::Span<uint32_t> mask) {
  RustString error;
  return ToStatus(ls_guide_state_mask(state_.get(), mask.data(), mask.size(), error.out()), error);
}

absl::StatusOr<bool> GuideState::Accept(int32_t token) {
  RustString error;
  bool complete = false;
  const int32_t code =
      ls_guide_state_accept(state_.get(), static_cast<uint32_t>(token), &complete, error.out());
  if (code != kLsTextOk) return ToStatus(code, error);
  return complete;
}

absl::StatusOr<GuideState> Guide::Start() const {
  LsGuideState* state = nullptr;
  RustString error;
  const int32_t code = ls_guide_start(guide_.get(), &state, error.out());
  if (code != kLsTextOk) return ToStatus(code, error);
  return GuideState(state);
}

absl::StatusOr<GuideCompiler> GuideCompiler::Create(const TextModel& text, int32_t vocab_size,
                                                    absl::Span<const int32_t> end_tokens) {
  LsGuideCompiler* compiler = nullptr;
  RustString error;
  const int32_t code =
      ls_guide_compiler_new(text.model_.get(), static_cast<uint32_t>(vocab_size), end_tokens.data(),
                            end_tokens.size(), &compiler, error.out());
  if (code != kLsTextOk) return ToStatus(code, error);
  return GuideCompiler(compiler);
}

absl::StatusOr<std::shared_ptr<const Guide>> GuideCompiler::Compile(const GuideSpec& spec) const {
  LsGuide* guide = nullptr;
  RustString error;
  const int32_t code =
      ls_guide_compile(compiler_.get(), ToFfi(spec.kind), View(spec.text), &guide, error.out());
  if (code != kLsTextOk) return ToStatus(code, error);
  return std::shared_ptr<const Guide>(new Guide(guide));
}

}  // namespace lockstep::server
