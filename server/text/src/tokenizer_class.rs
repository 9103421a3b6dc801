//! `tokenizer_class` in tokenizer_config.json. Hugging Face's AutoTokenizer takes tokenizer.json as it is for
//! PreTrainedTokenizerFast, but for some named classes only its vocabulary, merges and post-processor: the class itself
//! says how text is split and joined. Prompts must be tokenized as the reference does, so the same is done here.

use serde_json::{json, Map, Value};

pub enum TokenizerClass {
    /// tokenizer.json as it is.
    AsStored,
    Llama {
        legacy: bool,
        prefix_space: bool,
    },
    CodeLlama {
        prefix_space: bool,
    },
    Gpt2 {
        prefix_space: bool,
    },
    GptNeoX {
        prefix_space: bool,
    },
    Qwen2 {
        prefix_space: bool,
    },
}

const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const METASPACE: &str = "\u{2581}";

impl TokenizerClass {
    /// `has_byte_level`: tokenizer.json names a ByteLevel part. Llama 3 files declare LlamaTokenizer now and then, which
    /// would be wrong for them.
    pub fn of(
        config: &Map<String, Value>,
        model: &Map<String, Value>,
        has_byte_level: bool,
    ) -> Self {
        // For other model types AutoTokenizer has a table of its own, and ends at tokenizer.json as it is.
        if model.get("model_type").and_then(Value::as_str).is_some_and(|name| name != "llama") {
            return TokenizerClass::AsStored;
        }
        let name = [config, model]
            .iter()
            .find_map(|file| file.get("tokenizer_class").and_then(Value::as_str))
            .unwrap_or("");
        let prefix_space = |default: bool| match config.get("add_prefix_space") {
            None | Some(Value::Null) => default,
            Some(value) => value.as_bool().unwrap_or(default),
        };
        match name.strip_suffix("Fast").unwrap_or(name) {
            "LlamaTokenizer" if !has_byte_level => TokenizerClass::Llama {
                legacy: config.get("legacy").and_then(Value::as_bool).unwrap_or(false),
                prefix_space: prefix_space(true),
            },
            "CodeLlamaTokenizer" => TokenizerClass::CodeLlama { prefix_space: prefix_space(true) },
            "GPT2Tokenizer" => TokenizerClass::Gpt2 { prefix_space: prefix_space(false) },
            "GPTNeoXTokenizer" => TokenizerClass::GptNeoX { prefix_space: prefix_space(false) },
            "Qwen2Tokenizer" => TokenizerClass::Qwen2 { prefix_space: prefix_space(false) },
            _ => TokenizerClass::AsStored,
        }
    }

    pub fn is_as_stored(&self) -> bool {
        matches!(self, TokenizerClass::AsStored)
    }

    /// What the class names its special tokens where the checkpoint does not.
    pub fn default_tokens(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            TokenizerClass::AsStored => &[],
            TokenizerClass::Llama { .. } => {
                &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")]
            }
            TokenizerClass::CodeLlama { .. } => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("prefix_token", "\u{2581}<PRE>"),
                ("middle_token", "\u{2581}<MID>"),
                ("suffix_token", "\u{2581}<SUF>"),
                ("eot_token", "\u{2581}<EOT>"),
                ("fill_token", "<FILL_ME>"),
            ],
            TokenizerClass::Gpt2 { .. } => &[
                ("unk_token", "<|endoftext|>"),
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
            ],
            TokenizerClass::GptNeoX { .. } => &[
                ("unk_token", "<|endoftext|>"),
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("pad_token", "<|padding|>"),
            ],
            TokenizerClass::Qwen2 { .. } => &[
                ("unk_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
        }
    }

    /// Whether a checkpoint without pad_token has tokenizer.json's token for padding. GPT2Tokenizer has none then, and
    /// others one of their own.
    pub fn takes_padding(&self) -> bool {
        !matches!(self, TokenizerClass::Gpt2 { .. })
    }

    /// Rewrites a parsed tokenizer.json into the one that the class builds. A model that is not BPE stays as it is.
    pub fn apply(&self, tokenizer: &mut Map<String, Value>) {
        let is_bpe =
            tokenizer.get("model").and_then(|model| model.get("type")).and_then(Value::as_str)
                == Some("BPE");
        if self.is_as_stored() || !is_bpe {
            return;
        }
        let set = |tokenizer: &mut Map<String, Value>, key: &str, value: Value| {
            tokenizer.insert(key.to_string(), value);
        };
        set(tokenizer, "normalizer", self.normalizer());
        set(tokenizer, "pre_tokenizer", self.pre_tokenizer());
        set(tokenizer, "decoder", self.decoder());
        set(tokenizer, "added_tokens", json!([]));
        if let TokenizerClass::GptNeoX { .. } = self {
            // The class makes a post-processor of its own, and that adds nothing.
            set(tokenizer, "post_processor", Value::Null);
        }
        if let Some(Value::Object(model)) = tokenizer.get_mut("model") {
            for (key, value) in self.model_options() {
                model.insert(key.to_string(), value);
            }
        }
    }

    fn normalizer(&self) -> Value {
        match self {
            TokenizerClass::GptNeoX { .. } | TokenizerClass::Qwen2 { .. } => json!({"type": "NFC"}),
            _ => Value::Null,
        }
    }

    fn pre_tokenizer(&self) -> Value {
        let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": METASPACE, "prepend_scheme": scheme, "split": false});
        match self {
            TokenizerClass::AsStored => Value::Null,
            TokenizerClass::Llama { prefix_space: false, .. }
            | TokenizerClass::CodeLlama { prefix_space: false } => metaspace("never"),
            TokenizerClass::Llama { legacy: true, .. } => metaspace("always"),
            TokenizerClass::Llama { .. } | TokenizerClass::CodeLlama { .. } => metaspace("first"),
            TokenizerClass::Gpt2 { prefix_space } | TokenizerClass::GptNeoX { prefix_space } => {
                byte_level(*prefix_space, true)
            }
            TokenizerClass::Qwen2 { prefix_space } => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": false},
                byte_level(*prefix_space, false),
            ]}),
        }
    }

    fn decoder(&self) -> Value {
        let mut parts = vec![
            json!({"type": "Replace", "pattern": {"String": METASPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        match self {
            TokenizerClass::Gpt2 { .. }
            | TokenizerClass::GptNeoX { .. }
            | TokenizerClass::Qwen2 { .. } => return byte_level(true, true),
            TokenizerClass::Llama { prefix_space: false, .. } => {}
            _ => parts.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})),
        }
        json!({"type": "Sequence", "decoders": parts})
    }

    fn model_options(&self) -> Vec<(&'static str, Value)> {
        let byte_fallback =
            matches!(self, TokenizerClass::Llama { .. } | TokenizerClass::CodeLlama { .. });
        let unk = match self {
            TokenizerClass::CodeLlama { .. } => json!("<unk>"),
            _ => Value::Null,
        };
        vec![
            ("dropout", Value::Null),
            ("unk_token", unk),
            ("continuing_subword_prefix", Value::Null),
            ("end_of_word_suffix", Value::Null),
            ("fuse_unk", json!(byte_fallback)),
            ("byte_fallback", json!(byte_fallback)),
            ("ignore_merges", json!(false)),
        ]
    }
}

fn byte_level(prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": use_regex})
}
