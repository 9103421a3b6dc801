//! What every token id stands for, worked out once so that lookups at each step cost nothing.

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::error::{Result, TextError};

/// Far above any published vocabulary (256k); a stray id beyond it would cost gigabytes.
const MAX_TOKEN_ID: u32 = 16_000_000;

pub struct Token {
    /// What the decoder gets: the vocabulary's own spelling.
    pub piece: Box<str>,
    /// The exact bytes of text that the token stands for.
    pub bytes: Box<[u8]>,
    pub special: bool,
}

/// Indexed by token id; an id that names no token is a hole.
pub struct TokenTable {
    tokens: Vec<Option<Token>>,
}

impl TokenTable {
    pub fn build(tokenizer: &Tokenizer) -> Result<TokenTable> {
        let vocabulary = tokenizer.get_vocab(true);
        let added = tokenizer.get_added_vocabulary();
        let max = vocabulary.values().chain(added.get_added_tokens_decoder().keys()).copied().max();
        let size = match max {
            None => return Err(TextError::invalid("tokenizer.json: the vocabulary is empty")),
            Some(max) if max > MAX_TOKEN_ID => {
                return Err(TextError::invalid(format!(
                    "tokenizer.json: token id {max} exceeds the limit of {MAX_TOKEN_ID}"
                )))
            }
            Some(max) => max as usize + 1,
        };
        let spelling = Spelling::of(tokenizer);
        let mut tokens: Vec<Option<Token>> = Vec::with_capacity(size);
        tokens.resize_with(size, || None);
        for (piece, id) in vocabulary {
            let bytes = spelling.bytes(&piece).into_boxed_slice();
            let special = added.is_special_token(&piece);
            tokens[id as usize] = Some(Token { piece: piece.into_boxed_str(), bytes, special });
        }
        for (id, token) in added.get_added_tokens_decoder() {
            let piece = added.simple_id_to_token(*id).unwrap_or_else(|| token.content.clone());
            let special = added.is_special_token(&piece);
            let bytes = token.content.as_bytes().into();
            tokens[*id as usize] = Some(Token { piece: piece.into_boxed_str(), bytes, special });
        }
        Ok(TokenTable { tokens })
    }

    /// One past the largest token id.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    pub fn get(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)?.as_ref()
    }
}

/// How the vocabulary spells bytes, read off the decoder.
#[derive(Default)]
struct Spelling {
    byte_level: bool,
    byte_fallback: bool,
    /// Literal replacements, such as the metaspace by a space.
    replacements: Vec<(String, String)>,
}

impl Spelling {
    fn of(tokenizer: &Tokenizer) -> Spelling {
        let mut spelling = Spelling::default();
        if let Some(decoder) = tokenizer.get_decoder() {
            for part in crate::decode::flatten(decoder) {
                spelling.learn(&part);
            }
        }
        spelling
    }

    fn learn(&mut self, part: &Value) {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_string);
        match part.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => self.byte_level = true,
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Metaspace") => {
                let replacement =
                    text(part.get("replacement")).unwrap_or_else(|| "\u{2581}".to_string());
                self.replacements.push((replacement, " ".to_string()));
            }
            Some("Replace") => {
                let pattern = text(part.get("pattern").and_then(|pattern| pattern.get("String")));
                if let (Some(pattern), Some(content)) = (pattern, text(part.get("content"))) {
                    self.replacements.push((pattern, content));
                }
            }
            _ => {}
        }
    }

    fn bytes(&self, piece: &str) -> Vec<u8> {
        if self.byte_level {
            return crate::decode::byte_level_bytes(piece);
        }
        if self.byte_fallback {
            if let Some(byte) = crate::decode::fallback_byte(piece) {
                return vec![byte];
            }
        }
        let mut text = piece.to_string();
        for (pattern, content) in &self.replacements {
            if !pattern.is_empty() {
                text = text.replace(pattern.as_str(), content);
            }
        }
        text.into_bytes()
    }
}
