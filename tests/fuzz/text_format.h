// Messages in Protobuf's text format, which mutations of text reach deeper than those of bytes.
#ifndef LOCKSTEP_TESTS_FUZZ_TEXT_FORMAT_H_
#define LOCKSTEP_TESTS_FUZZ_TEXT_FORMAT_H_

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <string>

namespace lockstep::testing {

// False, and silent, where `text` is no such message.
inline bool ParseText(const std::string& text, google::protobuf::Message& message) {
  class SilentErrors final : public google::protobuf::io::ErrorCollector {
    void AddError(int line, google::protobuf::io::ColumnNumber column,
                  const std::string& what) override {}
  };
  SilentErrors errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  return parser.ParseFromString(text, &message);
}

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_FUZZ_TEXT_FORMAT_H_
