//! Guides: which tokens may come next for an answer to have a given form. llguidance has the grammars; here are its
//! vocabulary, its limits and its errors.

use std::sync::Arc;

use llguidance::api::{GrammarWithLexer, ParserLimits, StopReason, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{json, Value};

use crate::deep_stack::with_deep_stack;
use crate::error::{Code, Result, TextError};
use crate::lark_limits::prepare_grammar;
use crate::pattern_width::pattern;
use crate::schema_limits::prepare_schema;
use crate::token_table::TokenTable;

/// The trie's nodes have 10 bits for a token's depth. No published vocabulary comes near, but for runs of 1,024 spaces.
const MAX_TOKEN_BYTES: usize = 1000;

/// Between the parts of a JSON document: enough for any indentation, and an end to a model that writes nothing else.
const JSON_WHITESPACE: &str = r"[\x20\x0A\x0D\x09]{1,64}";

/// What one request may cost. Steps are bounded so that a mask takes some tens of milliseconds at the very most
/// (llguidance's documentation has the speeds), lexer states so that a request takes some tens of megabytes.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 30_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// The values are those of `LsGuideKind` in `guide_ffi.h`.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    JsonSchema = 0,
    Regex = 1,
    Lark = 2,
    /// A JSON array of texts.
    Choice = 3,
}

impl Kind {
    pub fn from_number(number: i32) -> Result<Kind> {
        [Kind::JsonSchema, Kind::Regex, Kind::Lark, Kind::Choice]
            .into_iter()
            .find(|kind| *kind as i32 == number)
            .ok_or_else(|| TextError::internal(format!("no kind of guide has the number {number}")))
    }
}

/// Compiles guides for one vocabulary. Immutable.
pub struct GuideCompiler {
    factory: ParserFactory,
}

/// A compiled guide at its beginning. Immutable.
pub struct Guide {
    beginning: Matcher,
}

/// Where one answer is within its guide.
pub struct GuideState {
    matcher: Matcher,
}

impl GuideCompiler {
    /// `vocab_size` is the model's, which may be padded beyond the table. `end_tokens` may be empty.
    pub fn new(table: &TokenTable, vocab_size: u32, end_tokens: &[u32]) -> Result<GuideCompiler> {
        // One more token than there is, without text: what ends the answers of a model without an end token.
        let mut words: Vec<Vec<u8>> = (0..vocab_size).map(|id| word(table, id)).collect();
        words.push(Vec::new());
        let mut end_tokens: Vec<u32> =
            end_tokens.iter().copied().filter(|id| *id < vocab_size).collect();
        end_tokens.push(vocab_size);
        for id in &end_tokens {
            words[*id as usize].clear();
        }
        let info = TokRxInfo::new(vocab_size + 1, end_tokens[0]);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&end_tokens);
        // Not canonical: no token is forced, the model chooses among those that spell what the guide wants.
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment)
            .map_err(|error| TextError::internal(format!("{error:#}")))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(GuideCompiler { factory })
    }

    pub fn compile(&self, kind: Kind, text: &str) -> Result<Guide> {
        with_deep_stack(|| self.compile_here(kind, text))
            .map_err(|error| TextError::internal(format!("no thread for a guide: {error}")))?
    }

    fn compile_here(&self, kind: Kind, text: &str) -> Result<Guide> {
        let grammar = match kind {
            Kind::JsonSchema => json_schema(text)?,
            Kind::Regex => regex(text)?,
            Kind::Lark => TopLevelGrammar::from_lark(prepare_grammar(text)?),
            Kind::Choice => choice(text)?,
        };
        let parser = self.factory.create_parser(grammar).map_err(refused)?;
        let mut beginning = Matcher::new(Ok(parser));
        // The first mask shows what compiling does not: that the vocabulary cannot spell any beginning.
        let mask = match beginning.compute_mask() {
            // A grammar that only ever leads back to itself stops before its beginning.
            Err(error) if is_dead_end(&error) => {
                return Err(TextError::invalid("is unsatisfiable: no text has this form"));
            }
            computed => computed.map_err(refused)?,
        };
        if mask.is_zero() {
            return Err(TextError::invalid(
                "the vocabulary has no token with which it could begin",
            ));
        }
        Ok(Guide { beginning })
    }
}

impl Guide {
    /// For one answer; shares nothing with others.
    pub fn start(&self) -> GuideState {
        GuideState { matcher: self.beginning.deep_clone() }
    }
}

impl GuideState {
    /// Writes a bit per token into `mask`: [ceil(vocab_size / 32)].
    pub fn compute_mask(&mut self, mask: &mut [u32]) -> Result<()> {
        let allowed = self.matcher.compute_mask().map_err(exhausted)?;
        mask.fill(0);
        let words = allowed.as_slice();
        let shared = mask.len().min(words.len());
        mask[..shared].copy_from_slice(&words[..shared]);
        Ok(())
    }

    /// Takes the answer's next token; true where the answer is complete and nothing may follow.
    pub fn accept(&mut self, token: u32) -> Result<bool> {
        self.matcher.consume_token(token).map_err(exhausted)?;
        Ok(self.matcher.is_stopped())
    }
}

/// What the trie has for a token: its bytes, behind a marker where it is special and stands for no text.
fn word(table: &TokenTable, id: u32) -> Vec<u8> {
    match table.get(id) {
        Some(token) if token.bytes.len() > MAX_TOKEN_BYTES => Vec::new(),
        Some(token) if token.special => {
            [&[TokTrie::SPECIAL_TOKEN_MARKER], token.bytes.as_ref()].concat()
        }
        Some(token) => token.bytes.to_vec(),
        None => Vec::new(),
    }
}

fn json_schema(text: &str) -> Result<TopLevelGrammar> {
    let mut schema: Value = serde_json::from_str(text)
        .map_err(|error| TextError::invalid(format!("is not JSON: {error}")))?;
    prepare_schema(&mut schema)?;
    match &mut schema {
        Value::Object(object) => {
            // The schema's own choice wins.
            let options = object.entry("x-guidance").or_insert_with(|| json!({}));
            if let Value::Object(options) = options {
                if !options.contains_key("whitespace_flexible") {
                    options.entry("whitespace_pattern").or_insert_with(|| json!(JSON_WHITESPACE));
                }
            }
        }
        Value::Bool(_) => {}
        _ => return Err(TextError::invalid("is neither a JSON object nor true nor false")),
    }
    Ok(TopLevelGrammar::from_json_schema(schema))
}

/// llguidance would read on without a backslash at the end, as if the expression were a valid one.
fn regex(text: &str) -> Result<TopLevelGrammar> {
    let num_backslashes = text.len() - text.trim_end_matches('\\').len();
    if num_backslashes % 2 == 1 {
        return Err(TextError::invalid("ends in a backslash that escapes nothing"));
    }
    pattern(text, false)?;
    Ok(TopLevelGrammar::from_regex(text))
}

fn choice(text: &str) -> Result<TopLevelGrammar> {
    let choices: Vec<String> =
        serde_json::from_str(text).map_err(|error| TextError::internal(error.to_string()))?;
    let alternatives: Vec<String> =
        choices.iter().map(|choice| format!("({})", literal(choice))).collect();
    let mut grammar = GrammarWithLexer::from_regex(&alternatives.join("|"));
    grammar.name = Some("choice".to_string());
    Ok(TopLevelGrammar::from_grammar(grammar))
}

/// A regular expression for `text` itself.
fn literal(text: &str) -> String {
    let mut regex = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || !character.is_ascii() {
            regex.push(character);
        } else {
            regex.push_str(&format!("\\x{:02x}", character as u32));
        }
    }
    regex
}

fn refused(error: anyhow::Error) -> TextError {
    let text = readable(&error);
    if text.contains("coerce_one_of") {
        return TextError::invalid(
            "oneOf needs alternatives that exclude each other, as by a required property of each with a const of its own: \
             give them one, use anyOf, or set \"coerce_one_of\" to true in the schema's \"x-guidance\", so that oneOf \
             means anyOf",
        );
    }
    TextError::invalid(text)
}

/// A limit that shows only while an answer is being made, or a token that the guide forbids.
fn exhausted(error: anyhow::Error) -> TextError {
    if is_dead_end(&error) {
        return TextError::invalid("is unsatisfiable: no text of this form goes on like the answer");
    }
    TextError::new(Code::FailedPrecondition, readable(&error))
}

/// Nothing can follow, and the end neither. The reason is all that the error says.
fn is_dead_end(error: &anyhow::Error) -> bool {
    readable(error) == format!("{:?}", StopReason::NoExtensionBias)
}

/// llguidance's message without what is meant for its own developers.
fn readable(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = text.split("\n<").next().unwrap_or_default().trim();
    let text = text.split("<backtrace>").next().unwrap_or_default().trim();
    let mut end = text.len().min(1000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}
