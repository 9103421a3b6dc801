//! The text side of a checkpoint behind a C interface (`text_ffi.h`): Hugging Face tokenizers for the vocabulary,
//! minijinja for the chat template, llguidance for guides. Nothing here knows of requests, engines or gRPC.

mod chat;
mod data_size;
mod decode;
mod deep_stack;
mod error;
mod ffi;
mod files;
mod filters;
mod guide;
mod guide_ffi;
mod json;
mod lark_limits;
mod methods;
mod model;
mod multiples;
mod numbers;
mod one_of;
mod pattern_width;
mod place;
mod printf;
mod python;
mod references;
mod regex_effort;
mod repr;
mod schema_cost;
mod schema_limits;
mod special_tokens;
mod str_format;
mod template_source;
mod time;
mod token_table;
mod tokenizer_class;
mod unicode;
