#include "worker/checkpoint/rope_config.h"

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::worker {
namespace {

using Json = nlohmann::json;

constexpr double kMinTheta = 1e-3;
constexpr double kMaxTheta = 1e18;
constexpr double kMinFactor = 1e-3;
constexpr double kMaxFactor = 1e6;

constexpr std::array<std::pair<std::string_view, RopeType>, 6> kRopeTypes = {{
    {"default", RopeType::kDefault},
    {"linear", RopeType::kLinear},
    {"dynamic", RopeType::kDynamic},
    {"llama3", RopeType::kLlama3},
    {"yarn", RopeType::kYarn},
    {"longrope", RopeType::kLongRope},
}};

std::optional<RopeType> ParseRopeType(std::string_view name) {
  for (const auto& [known, type] : kRopeTypes) {
    if (known == name) return type;
  }
  return std::nullopt;
}

// The object that holds the parameters, or nullptr when all are defaults. As in transformers, a
// rope_scaling that is not empty goes before rope_parameters.
const Json* FindRopeObject(JsonFields& config, const char** name) {
  for (const char* candidate : {"rope_scaling", "rope_parameters"}) {
    const Json* value = config.Find(candidate);
    if (value == nullptr) continue;
    if (!value->is_object()) {
      config.Fail(candidate, "it must be null or an object");
      return nullptr;
    }
    if (value->empty()) continue;
    *name = candidate;
    return value;
  }
  return nullptr;
}

void ReadLlama3(JsonFields& fields, RopeParameters& rope) {
  rope.low_freq_factor = fields.RequiredNumber("low_freq_factor", kMinFactor, kMaxFactor);
  rope.high_freq_factor = fields.RequiredNumber("high_freq_factor", kMinFactor, kMaxFactor);
  if (fields.status().ok() && rope.high_freq_factor <= rope.low_freq_factor) {
    fields.Fail("high_freq_factor",
                absl::StrCat("it must be larger than low_freq_factor, ", rope.low_freq_factor));
  }
}

// Of yarn and longrope, after original_max_position_embeddings.
void ReadExtension(JsonFields& fields, int64_t max_position_embeddings, RopeParameters& rope) {
  // As in transformers, a null factor is the ratio of the context lengths; so is an absent one
  // here.
  const double ratio = static_cast<double>(max_position_embeddings) /
                       static_cast<double>(rope.original_max_position_embeddings);
  rope.factor = fields.Has("factor") ? fields.Number("factor", 1.0, kMinFactor, kMaxFactor) : ratio;
  if (fields.Has("attention_factor")) {
    rope.attention_factor = fields.Number("attention_factor", 1.0, 0.0, kMaxFactor);
  }
}

void ReadYarn(JsonFields& fields, RopeParameters& rope) {
  rope.mscale = fields.Number("mscale", 0.0, 0.0, kMaxFactor);
  rope.mscale_all_dim = fields.Number("mscale_all_dim", 0.0, 0.0, kMaxFactor);
  const double beta_fast = fields.Number("beta_fast", 0.0, 0.0, kMaxFactor);
  const double beta_slow = fields.Number("beta_slow", 0.0, 0.0, kMaxFactor);
  if (beta_fast != 0.0) rope.beta_fast = beta_fast;  // 0 counts as not given
  if (beta_slow != 0.0) rope.beta_slow = beta_slow;
  // There null is as good as false.
  rope.truncate = fields.Bool("truncate", !fields.IsNull("truncate"));
  if (rope.theta <= 1.0) fields.Fail("rope_theta", "yarn needs it to be larger than 1");
}

void ReadLongRope(JsonFields& fields, int64_t head_dim, RopeParameters& rope) {
  const auto size = static_cast<size_t>(head_dim / 2);
  rope.short_factor = fields.RequiredNumbers("short_factor", size, kMinFactor, kMaxFactor);
  rope.long_factor = fields.RequiredNumbers("long_factor", size, kMinFactor, kMaxFactor);
  // Its logarithm is divided by.
  if (rope.original_max_position_embeddings == 1 && !rope.attention_factor) {
    fields.Fail("original_max_position_embeddings",
                "longrope needs more than 1, or an attention_factor");
  }
}

// original_max_position_embeddings, which goes before the inner one where it is beside it, as in
// transformers.
void ReadOriginalContext(JsonFields& fields, const JsonFields& config,
                         int64_t max_position_embeddings, RopeParameters& rope) {
  rope.original_max_position_embeddings =
      fields.Integer("original_max_position_embeddings", max_position_embeddings, 1, kMaxPositions);
  if (config.Has("original_max_position_embeddings")) {
    JsonFields beside = config;
    rope.original_max_position_embeddings =
        beside.Integer("original_max_position_embeddings", 1, 1, kMaxPositions);
    if (!beside.status().ok()) fields.Fail(beside.status());
  }
}

void ReadScaledRope(JsonFields& fields, const JsonFields& config, int64_t max_position_embeddings,
                    int64_t head_dim, RopeParameters& rope) {
  if (rope.type == RopeType::kDefault) return;
  const bool is_extension = rope.type == RopeType::kYarn || rope.type == RopeType::kLongRope;
  if (!is_extension) rope.factor = fields.RequiredNumber("factor", kMinFactor, kMaxFactor);
  if (rope.type == RopeType::kLinear || rope.type == RopeType::kDynamic) return;
  ReadOriginalContext(fields, config, max_position_embeddings, rope);
  if (is_extension) ReadExtension(fields, max_position_embeddings, rope);
  if (rope.type == RopeType::kLlama3) ReadLlama3(fields, rope);
  if (rope.type == RopeType::kYarn) ReadYarn(fields, rope);
  if (rope.type == RopeType::kLongRope) ReadLongRope(fields, head_dim, rope);
}

// transformers' Llama ignores the field where the type is "default" and breaks where it is not;
// other servers rotate a part of each head. No published Llama has it.
void RefusePartialRotary(JsonFields& fields) {
  if (fields.Number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0) {
    fields.Fail("partial_rotary_factor",
                "only heads that are rotated as a whole (1.0) are supported");
  }
}

}  // namespace

std::string_view RopeTypeName(RopeType type) {
  for (const auto& [name, known] : kRopeTypes) {
    if (known == type) return name;
  }
  return "unknown";
}

RopeParameters ReadRopeParameters(JsonFields& config, const std::string& source,
                                  int64_t max_position_embeddings, int64_t head_dim) {
  RopeParameters rope;
  rope.theta = config.Number("rope_theta", rope.theta, kMinTheta, kMaxTheta);
  RefusePartialRotary(config);
  const char* name = nullptr;
  const Json* object = FindRopeObject(config, &name);
  if (object == nullptr) return rope;

  JsonFields fields(*object, absl::StrCat(source, ": ", name));
  rope.theta = fields.Number("rope_theta", rope.theta, kMinTheta, kMaxTheta);
  RefusePartialRotary(fields);
  const char* type_field = fields.Has("rope_type") ? "rope_type" : "type";
  const std::optional<RopeType> type = ParseRopeType(fields.String(type_field, "default"));
  if (type) {
    rope.type = *type;
    ReadScaledRope(fields, config, max_position_embeddings, head_dim, rope);
  } else {
    fields.Fail(type_field, "supported are default, linear, dynamic, llama3, yarn and longrope");
  }
  if (!fields.status().ok()) config.Fail(fields.status());
  return rope;
}

}  // namespace lockstep::worker
