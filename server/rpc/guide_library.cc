#include "server/rpc/guide_library.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

// One may be busy with a large schema while small ones pass: see kPatience.
constexpr int kThreads = 2;
constexpr std::size_t kMaxWaiting = 256;
constexpr std::size_t kMaxKept = 256;
// Of text; what is compiled from it takes some times as much.
constexpr std::size_t kMaxKeptBytes = std::size_t{4} << 20;

absl::Status Unwanted() { return absl::CancelledError("nobody waits for the guide any more"); }

}  // namespace

GuideLibrary::GuideLibrary(const TextModel& text, int32_t vocab_size,
                           std::vector<int32_t> end_tokens, std::function<absl::Time()> clock)
    : text_(text),
      vocab_size_(vocab_size),
      end_tokens_(std::move(end_tokens)),
      clock_(std::move(clock)),
      compiler_(absl::UnknownError("not made yet")),
      executor_(kThreads) {
  executor_.Post([this] { Compiler(); });
}

GuideLibrary::~GuideLibrary() { is_ending_ = true; }

void GuideLibrary::Get(GuideSpec spec, IsWanted is_wanted, Done done) {
  std::optional<Result> found;
  std::vector<Waiting> unwanted;
  {
    MutexLock lock(mutex_);
    found = Find(spec);
    if (!found.has_value() && waiting_.size() >= kMaxWaiting) unwanted = TakeUnwanted();
    if (!found.has_value() && waiting_.size() >= kMaxWaiting) {
      found = absl::ResourceExhaustedError(
          absl::StrCat(kMaxWaiting, " guides wait to be compiled: retry later"));
    }
    if (!found.has_value()) {
      const std::size_t size = spec.text.size();
      waiting_.insert({size, {clock_(), std::move(spec), std::move(is_wanted), std::move(done)}});
    }
  }
  for (const Waiting& each : unwanted) each.done(Unwanted());
  if (found.has_value()) {
    done(*std::move(found));
  } else {
    executor_.Post([this] { CompileNext(); });
  }
}

void GuideLibrary::CompileNext() {
  std::optional<Waiting> next;
  bool is_impatient = false;
  {
    MutexLock lock(mutex_);
    if (waiting_.empty()) return;
    auto it = serves_impatient_ ? waiting_.end() : FindImpatient();
    is_impatient = it != waiting_.end();
    if (is_impatient) {
      serves_impatient_ = true;
    } else {
      it = waiting_.begin();
    }
    next = std::move(it->second);
    waiting_.erase(it);
  }
  Result result = Compile(next->spec, next->is_wanted);
  if (is_impatient) {
    MutexLock lock(mutex_);
    serves_impatient_ = false;
  }
  next->done(std::move(result));
}

GuideLibrary::WaitingBySize::iterator GuideLibrary::FindImpatient() {
  const auto oldest = std::min_element(
      waiting_.begin(), waiting_.end(),
      [](const auto& a, const auto& b) { return a.second.since < b.second.since; });
  return clock_() - oldest->second.since >= kPatience ? oldest : waiting_.end();
}

std::vector<GuideLibrary::Waiting> GuideLibrary::TakeUnwanted() {
  std::vector<Waiting> unwanted;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (it->second.is_wanted()) {
      ++it;
    } else {
      unwanted.push_back(std::move(it->second));
      it = waiting_.erase(it);
    }
  }
  return unwanted;
}

const absl::StatusOr<GuideCompiler>& GuideLibrary::Compiler() {
  std::call_once(compiler_once_,
                 [this] { compiler_ = GuideCompiler::Create(text_, vocab_size_, end_tokens_); });
  return compiler_;
}

GuideLibrary::Result GuideLibrary::Compile(const GuideSpec& spec, const IsWanted& is_wanted) {
  if (is_ending_) return absl::UnavailableError("the server is shutting down");
  if (!is_wanted()) return Unwanted();
  {
    // It may have been compiled while this request waited.
    MutexLock lock(mutex_);
    if (auto found = Find(spec); found.has_value()) return *std::move(found);
  }
  const absl::StatusOr<GuideCompiler>& compiler = Compiler();
  if (!compiler.ok()) return compiler.status();
  Result result = compiler->Compile(spec);
  if (result.ok() || absl::IsInvalidArgument(result.status())) Keep(spec, result);
  return result;
}

std::optional<GuideLibrary::Result> GuideLibrary::Find(const GuideSpec& spec) {
  const auto it = kept_.find(spec);
  if (it == kept_.end()) return std::nullopt;
  uses_.splice(uses_.begin(), uses_, it->second.use);
  return it->second.result;
}

void GuideLibrary::Keep(const GuideSpec& spec, const Result& result) {
  MutexLock lock(mutex_);
  if (kept_.contains(spec)) return;
  uses_.push_front(spec);
  kept_.insert({spec, {result, uses_.begin()}});
  kept_bytes_ += spec.text.size();
  while (kept_.size() > kMaxKept || kept_bytes_ > kMaxKeptBytes) {
    kept_bytes_ -= uses_.back().text.size();
    kept_.erase(uses_.back());
    uses_.pop_back();
  }
}

}  // namespace lockstep::server
