//! Incremental detokenization. The decoder of tokenizer.json is a chain of steps over the whole list of tokens; each
//! step here does the same over a stream, and passes on only what later tokens cannot change. The text that comes out,
//! with `finish`, is exactly what the whole decode of the same ids gives.

use serde_json::Value;
use tokenizers::{Decoder, DecoderWrapper, Tokenizer};

use crate::model::TextModel;

/// `clean_up_tokenization_spaces`: these replacements, one after the other.
pub const CLEAN_UP: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

const REPLACEMENT: &str = "\u{fffd}";

/// The decoder's steps with Sequence dissolved, as JSON.
pub fn flatten(decoder: &DecoderWrapper) -> Vec<Value> {
    fn visit(value: Value, parts: &mut Vec<Value>) {
        match value {
            Value::Object(mut object)
                if object.get("type").and_then(Value::as_str) == Some("Sequence") =>
            {
                if let Some(Value::Array(list)) = object.remove("decoders") {
                    list.into_iter().for_each(|part| visit(part, parts));
                }
            }
            other => parts.push(other),
        }
    }
    let mut parts = Vec::new();
    if let Ok(value) = serde_json::to_value(decoder) {
        visit(value, &mut parts);
    }
    parts
}

/// The byte that `<0xNN>` stands for.
pub fn fallback_byte(piece: &str) -> Option<u8> {
    if piece.len() == 6 && piece.starts_with("<0x") && piece.ends_with('>') {
        u8::from_str_radix(piece.get(3..5)?, 16).ok()
    } else {
        None
    }
}

/// The byte that a character of the byte-level alphabet stands for: printable Latin-1 characters stand for themselves,
/// the others are moved to U+0100 and up, in order.
fn alphabet_byte(c: char) -> Option<u8> {
    let stands_for_itself = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = c as u32;
    if stands_for_itself(code) {
        return Some(code as u8);
    }
    match code {
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// A piece with any character outside the alphabet is taken literally, as the reference does.
pub fn byte_level_bytes(piece: &str) -> Vec<u8> {
    piece
        .chars()
        .map(alphabet_byte)
        .collect::<Option<Vec<u8>>>()
        .unwrap_or_else(|| piece.as_bytes().to_vec())
}

#[derive(Clone)]
enum Step {
    /// Applies to every token by itself.
    PerToken(Box<DecoderWrapper>),
    /// Tokens joined by spaces: what a tokenizer without a decoder does.
    Join { first: bool },
    /// The first token loses its replacement characters, the others get spaces.
    Metaspace { replacement: char, drop_first: bool, first: bool },
    /// A run of `<0xNN>` is UTF-8 as a whole, or else one U+FFFD per byte: it can be judged only where it ends.
    ByteFallback { run: Vec<u8> },
    /// Bytes to UTF-8 with U+FFFD for each maximal invalid part; an incomplete character waits.
    ByteLevel { pending: Vec<u8> },
    /// Up to `left` leading characters of the whole text.
    StripStart { content: char, left: usize },
    /// Leftmost replacement in the whole text; what may be the beginning of a match waits.
    Replace { pattern: String, content: String, pending: String },
}

/// How to make a stream for a tokenizer's decoder.
pub struct DecodePlan {
    /// None: a decoder that needs the whole list of tokens at once.
    steps: Option<Vec<Step>>,
    pub cleans_up: bool,
}

impl DecodePlan {
    pub fn new(tokenizer: &Tokenizer, cleans_up: bool) -> DecodePlan {
        let mut steps = match tokenizer.get_decoder() {
            None => Some(vec![Step::Join { first: true }]),
            Some(decoder) => compile(&flatten(decoder)),
        };
        if let (true, Some(steps)) = (cleans_up, steps.as_mut()) {
            steps.extend(CLEAN_UP.iter().map(|(pattern, content)| Step::Replace {
                pattern: pattern.to_string(),
                content: content.to_string(),
                pending: String::new(),
            }));
        }
        DecodePlan { steps, cleans_up }
    }
}

/// `fused`: from here on the steps see one text and not tokens.
fn compile(parts: &[Value]) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut fused = false;
    for part in parts {
        match part.get("type")?.as_str()? {
            "Fuse" => fused = true,
            "ByteFallback" if !fused => steps.push(Step::ByteFallback { run: Vec::new() }),
            "ByteLevel" if !fused => {
                steps.push(Step::ByteLevel { pending: Vec::new() });
                fused = true;
            }
            "Metaspace" => steps.push(compile_metaspace(part, fused)?),
            "Replace" if fused => steps.push(compile_replace(part)?),
            "Strip" if fused => steps.push(compile_strip(part)?),
            "Replace" => steps.push(per_token(part)?),
            "Strip" if part.get("stop")?.as_u64()? == 0 => steps.push(per_token(part)?),
            _ => return None,
        }
    }
    Some(steps)
}

fn per_token(part: &Value) -> Option<Step> {
    let decoder = serde_json::from_value(part.clone()).ok()?;
    Some(Step::PerToken(Box::new(decoder)))
}

fn single_char(value: Option<&Value>) -> Option<char> {
    let mut chars = value?.as_str()?.chars();
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

fn compile_metaspace(part: &Value, fused: bool) -> Option<Step> {
    let replacement = single_char(part.get("replacement"))?;
    let drop_first = part.get("prepend_scheme").and_then(Value::as_str) != Some("never");
    // One fused text is the first token, and all of it.
    if fused {
        let content = if drop_first { String::new() } else { " ".to_string() };
        return Some(Step::Replace {
            pattern: replacement.to_string(),
            content,
            pending: String::new(),
        });
    }
    Some(Step::Metaspace { replacement, drop_first, first: true })
}

fn compile_replace(part: &Value) -> Option<Step> {
    let pattern = part.get("pattern")?.get("String")?.as_str()?.to_string();
    let content = part.get("content")?.as_str()?.to_string();
    (!pattern.is_empty()).then(|| Step::Replace { pattern, content, pending: String::new() })
}

fn compile_strip(part: &Value) -> Option<Step> {
    let left = usize::try_from(part.get("start")?.as_u64()?).ok()?;
    if part.get("stop")?.as_u64()? != 0 {
        return None;
    }
    Some(Step::StripStart { content: single_char(part.get("content"))?, left })
}

impl Step {
    fn push(&mut self, token: &str, emit: &mut dyn FnMut(&str)) {
        match self {
            Step::PerToken(decoder) => {
                for piece in decoder.decode_chain(vec![token.to_string()]).unwrap_or_default() {
                    emit(&piece);
                }
            }
            Step::Join { first } => {
                if !std::mem::take(first) {
                    emit(" ");
                }
                emit(token);
            }
            Step::Metaspace { replacement, drop_first, first } => {
                let dropped = std::mem::take(first) && *drop_first;
                emit(&token.replace(*replacement, if dropped { "" } else { " " }));
            }
            Step::ByteFallback { run } => match fallback_byte(token) {
                Some(byte) => run.push(byte),
                None => {
                    end_run(run, emit);
                    emit(token);
                }
            },
            Step::ByteLevel { pending } => {
                pending.extend(byte_level_bytes(token));
                let rest = emit_utf8(pending, emit);
                pending.drain(..rest);
            }
            Step::StripStart { content, left } => {
                let mut text = token;
                while *left > 0 && !text.is_empty() {
                    match text.strip_prefix(*content) {
                        Some(rest) => (text, *left) = (rest, *left - 1),
                        None => *left = 0,
                    }
                }
                emit(text);
            }
            Step::Replace { pattern, content, pending } => {
                pending.push_str(token);
                let rest = emit_replaced(pattern, content, pending, emit);
                pending.drain(..rest);
            }
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(&str)) {
        match self {
            Step::ByteFallback { run } => end_run(run, emit),
            Step::ByteLevel { pending } if !pending.is_empty() => {
                pending.clear();
                emit(REPLACEMENT);
            }
            Step::Replace { pending, .. } => emit(&std::mem::take(pending)),
            _ => {}
        }
    }
}

fn end_run(run: &mut Vec<u8>, emit: &mut dyn FnMut(&str)) {
    match std::str::from_utf8(run) {
        Ok("") => {}
        Ok(text) => emit(text),
        Err(_) => run.iter().for_each(|_| emit(REPLACEMENT)),
    }
    run.clear();
}

/// Emits what is decided, and returns where the undecided rest (an incomplete character) begins.
fn emit_utf8(bytes: &[u8], emit: &mut dyn FnMut(&str)) -> usize {
    let mut start = 0;
    loop {
        match std::str::from_utf8(&bytes[start..]) {
            Ok(text) => {
                emit(text);
                return bytes.len();
            }
            Err(error) => {
                let valid = start + error.valid_up_to();
                emit(std::str::from_utf8(&bytes[start..valid]).unwrap_or_default());
                match error.error_len() {
                    None => return valid,
                    Some(length) => {
                        emit(REPLACEMENT);
                        start = valid + length;
                    }
                }
            }
        }
    }
}

/// As above; the rest is the longest end of the text that a match could begin with.
fn emit_replaced(pattern: &str, content: &str, text: &str, emit: &mut dyn FnMut(&str)) -> usize {
    let mut start = 0;
    while let Some(at) = text[start..].find(pattern) {
        emit(&text[start..start + at]);
        emit(content);
        start += at + pattern.len();
    }
    let rest = &text[start..];
    let held = (1..pattern.len())
        .rev()
        .find(|&length| pattern.is_char_boundary(length) && rest.ends_with(&pattern[..length]))
        .unwrap_or(0);
    emit(&rest[..rest.len() - held]);
    text.len() - held
}

/// The state of one answer's text.
#[derive(Clone)]
pub struct DecodeStream {
    steps: Option<Vec<Step>>,
    /// The ids, kept only for a decoder without steps.
    ids: Vec<u32>,
    skip_special_tokens: bool,
}

impl DecodeStream {
    pub fn new(plan: &DecodePlan, skip_special_tokens: bool) -> DecodeStream {
        DecodeStream { steps: plan.steps.clone(), ids: Vec::new(), skip_special_tokens }
    }

    /// Appends to `out` the text that became final.
    pub fn append(&mut self, model: &TextModel, id: u32, out: &mut String) {
        let Some(token) = model.table.get(id) else { return };
        if self.skip_special_tokens && token.special {
            return;
        }
        match self.steps.as_mut() {
            Some(steps) => feed(steps, &token.piece, out),
            None => self.ids.push(id),
        }
    }

    /// Appends the text that was still undecided. The stream is empty afterwards.
    pub fn finish(&mut self, model: &TextModel, out: &mut String) -> crate::error::Result<()> {
        match self.steps.as_mut() {
            Some(steps) => drain(steps, out),
            None => out
                .push_str(&model.decode(&std::mem::take(&mut self.ids), self.skip_special_tokens)?),
        }
        Ok(())
    }
}

fn feed(steps: &mut [Step], token: &str, out: &mut String) {
    match steps.split_first_mut() {
        None => out.push_str(token),
        Some((step, rest)) => step.push(token, &mut |piece| feed(rest, piece, out)),
    }
}

fn drain(steps: &mut [Step], out: &mut String) {
    if let Some((step, rest)) = steps.split_first_mut() {
        step.finish(&mut |piece| feed(rest, piece, out));
        drain(rest, out);
    }
}
