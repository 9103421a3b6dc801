//! What a template's text needs before minijinja's parser sees it: line ends as Jinja reads them, and the few things that
//! Jinja's grammar has and minijinja's has not. Strings, comments and raw blocks stay as they are.

use std::ops::Range;

/// Words before an operand: a plus sign after one is unary, a parenthesis after one is no call.
const BEFORE_OPERAND: [&str; 7] = ["if", "elif", "else", "in", "and", "or", "not"];

/// Attributes that every dictionary has in Python. minijinja knows only how to call them.
const DICT_METHODS: [&str; 8] =
    ["clear", "copy", "get", "items", "keys", "pop", "update", "values"];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    /// A name or a number.
    Word,
    Open,
    Close,
    /// One character, of operators that have two as well.
    Operator,
}

struct Token<'a> {
    kind: Kind,
    text: &'a str,
    span: Range<usize>,
}

/// What stands between `{%` and `%}` or `{{` and `}}`.
struct Tag<'a> {
    tokens: Vec<Token<'a>>,
    end: usize,
    is_statement: bool,
}

/// An insertion where the span is empty.
struct Edit {
    span: Range<usize>,
    text: &'static str,
}

pub fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut prepared = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find('{') {
        prepared.push_str(&rest[..at]);
        rest = &rest[at..];
        let (close, length) = match rest.as_bytes().get(1) {
            Some(b'#') => ("#}", rest.find("#}").map(|end| end + 2)),
            Some(b'%') => ("%}", None),
            Some(b'{') => ("}}", None),
            _ => ("", Some(1)),
        };
        let length = length.or_else(|| {
            let tag = Tag::read(rest, close)?;
            prepared.push_str(&tag.rewritten(rest));
            let strips = rest[..tag.end].ends_with("-%}");
            rest = &rest[tag.end..];
            if !tag.is_only("raw") {
                return Some(0);
            }
            // Jinja keeps the line end that minijinja drops, as after other tags.
            if !strips && rest.starts_with('\n') {
                prepared.push('\n');
            }
            Some(raw_length(rest))
        });
        // What is never closed is the parser's to name.
        let Some(length) = length else { break };
        prepared.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    prepared.push_str(rest);
    prepared
}

/// Up to the tag that ends the raw block.
fn raw_length(text: &str) -> usize {
    let is_end =
        |inside: &str| inside.trim_start_matches(['-', '+']).trim_start().starts_with("endraw");
    let end = text.match_indices("{%").find(|(at, open)| is_end(&text[at + open.len()..]));
    end.map_or(text.len(), |(at, _)| at)
}

impl<'a> Tag<'a> {
    /// `source` begins with the tag. None: it has no end.
    fn read(source: &'a str, close: &str) -> Option<Tag<'a>> {
        let mut tokens = Vec::new();
        let mut depth = 0usize;
        // After `{%`, and what strips or keeps white space before it.
        let mut at = 2 + usize::from(source[2..].starts_with(['-', '+']));
        loop {
            let rest = &source[at..];
            let end = rest.strip_prefix(['-', '+']).unwrap_or(rest);
            if depth == 0 && end.starts_with(close) {
                let end = source.len() - end.len() + close.len();
                return Some(Tag { tokens, end, is_statement: close == "%}" });
            }
            let first = rest.chars().next()?;
            let (kind, length) = match first {
                '\'' | '"' => (Kind::Text, text_length(rest, first)?),
                '(' | '[' | '{' => (Kind::Open, 1),
                ')' | ']' | '}' => (Kind::Close, 1),
                _ if is_word(first) => (Kind::Word, word_length(rest)?),
                _ => (Kind::Operator, first.len_utf8()),
            };
            match kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !first.is_whitespace() {
                tokens.push(Token { kind, text: &rest[..length], span: at..at + length });
            }
            at += length;
        }
    }

    fn is_only(&self, word: &str) -> bool {
        self.tokens.len() == 1 && self.tokens[0].text == word
    }

    fn rewritten(&self, source: &str) -> String {
        let mut edits = self.edits();
        // At one place insertions come before what replaces the next token, and the latest closes first.
        edits.reverse();
        edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
        let mut text = String::new();
        let mut at = 0;
        for edit in edits {
            text.push_str(&source[at..edit.span.start]);
            text.push_str(edit.text);
            at = edit.span.end;
        }
        text.push_str(&source[at..self.end]);
        text
    }

    fn edits(&self) -> Vec<Edit> {
        // It marks what the assistant said, for training: here it is a plain block.
        for (word, block) in [("generation", "with"), ("endgeneration", "endwith")] {
            if self.is_only(word) {
                return vec![Edit { span: self.tokens[0].span.clone(), text: block }];
            }
        }
        let mut edits = Vec::new();
        // `a % b` becomes `a|__mod__(b)`: minijinja's operator is for numbers alone. `formatted` is where the latest `b`
        // ended: what is formatted is the left side of a `%` that follows at once.
        let mut formatted = None;
        for (index, token) in self.tokens.iter().enumerate() {
            match token.text {
                "+" if self.is_unary(index) => {
                    edits.push(Edit { span: token.span.clone(), text: " " });
                }
                "%" => {
                    let Some(end) = self.operand_end(index + 1) else { continue };
                    if formatted != Some(index) && !self.formats(index) {
                        continue;
                    }
                    let after = self.tokens[end - 1].span.end;
                    edits.push(Edit { span: token.span.clone(), text: "|__mod__(" });
                    edits.push(Edit { span: after..after, text: ")" });
                    formatted = Some(end);
                }
                // minijinja would write numbers and lists otherwise than Python: its operator gets strings alone.
                "~" => {
                    let start = self.concatenated_from(index);
                    if start.checked_sub(1).is_none_or(|before| self.tokens[before].text != "~") {
                        self.make_text(start..index, &mut edits);
                    }
                    self.make_text(index + 1..self.concatenated_until(index), &mut edits);
                }
                "." if self.reads_method(index) => {
                    let end = self.tokens[index + 1].span.end;
                    edits.push(Edit { span: token.span.clone(), text: "|__getattr__('" });
                    edits.push(Edit { span: end..end, text: "')" });
                }
                _ => {}
            }
        }
        edits
    }

    fn make_text(&self, operand: Range<usize>, edits: &mut Vec<Edit>) {
        let tokens = &self.tokens[operand];
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return };
        if tokens.iter().any(|token| token.kind != Kind::Text) {
            edits.push(Edit { span: first.span.start..first.span.start, text: "(" });
            edits.push(Edit { span: last.span.end..last.span.end, text: ")|string" });
        }
    }

    /// Where the operand left of the `~` at `index` begins.
    fn concatenated_from(&self, index: usize) -> usize {
        let mut start = index;
        while let Some(before) = start.checked_sub(1).filter(|at| !self.ends_operand(*at)) {
            start = match self.tokens[before].kind {
                Kind::Open => return start,
                Kind::Close => self.open_of(before).unwrap_or(before),
                _ => before,
            };
        }
        start
    }

    /// One past the operand right of it.
    fn concatenated_until(&self, index: usize) -> usize {
        let mut end = index + 1;
        while end < self.tokens.len() && !self.ends_operand(end) {
            end = match self.tokens[end].kind {
                Kind::Close => return end,
                Kind::Open => self.close_of(end).unwrap_or(end) + 1,
                _ => end + 1,
            };
        }
        end
    }

    /// Whether the token at `index` binds less than `~` does.
    fn ends_operand(&self, index: usize) -> bool {
        match self.tokens[index].text {
            "+" | "-" => !self.is_unary(index),
            "~" | "<" | ">" | "=" | "!" | "," | ":" => true,
            // A test belongs to the operand.
            "not" => !self.follows(index, "is"),
            "in" => {
                !(self.follows(index, "is")
                    || self.follows(index, "not") && self.follows(index - 1, "is"))
            }
            word => BEFORE_OPERAND.contains(&word) || (index == 0 && self.is_statement),
        }
    }

    fn follows(&self, index: usize, text: &str) -> bool {
        index > 0 && self.tokens[index - 1].text == text
    }

    /// Whether the `.` at `index` names a dictionary's method without calling it.
    fn reads_method(&self, index: usize) -> bool {
        let text = |at: usize| self.tokens.get(at).map_or("", |token| token.text);
        let is_set = text(0) == "set" && !self.tokens[..index].iter().any(|t| t.text == "=");
        let is_filter_name = index >= 2 && matches!(text(index - 2), "|" | "is");
        DICT_METHODS.contains(&text(index + 1))
            && !matches!(text(index + 2), "(" | "[" | ".")
            && !is_set
            && !is_filter_name
    }

    fn is_unary(&self, index: usize) -> bool {
        let Some(before) = index.checked_sub(1).map(|before| &self.tokens[before]) else {
            return true;
        };
        match before.kind {
            Kind::Text | Kind::Close => false,
            Kind::Word => BEFORE_OPERAND.contains(&before.text),
            Kind::Open | Kind::Operator => true,
        }
    }

    /// Whether the `%` at `index` formats: by what stands right or left of it, as far as the text tells.
    fn formats(&self, index: usize) -> bool {
        let is_text = |index: usize| self.tokens.get(index).is_some_and(|t| t.kind == Kind::Text);
        let arguments = &self.tokens[index + 1];
        if is_text(index + 1) || arguments.text == "{" || self.is_tuple(index + 1) {
            return true;
        }
        let Some(last) = index.checked_sub(1) else { return false };
        let mut first = last;
        if self.tokens[last].text == ")" {
            let Some(open) = self.open_of(last) else { return false };
            if !is_text(open + 1) || !self.is_unary(open) {
                return false;
            }
            first = open;
        } else if !is_text(last) {
            return false;
        }
        while first > 0 && is_text(first - 1) {
            first -= 1;
        }
        // In `3 * 'a' % x` the string is not the whole left side.
        first == 0 || !matches!(self.tokens[first - 1].text, "*" | "/" | "%")
    }

    /// Whether `index` opens a parenthesis with a comma of its own.
    fn is_tuple(&self, index: usize) -> bool {
        let Some(close) = self.close_of(index) else { return false };
        let mut depth = 0;
        self.tokens[index..close].iter().any(|token| {
            depth += nesting(token);
            depth == 1 && token.text == ","
        }) && self.tokens[index].text == "("
    }

    /// One past the operand that begins at `index`: signs, a primary, and the attributes, calls and filters after it.
    fn operand_end(&self, index: usize) -> Option<usize> {
        let text = |at: usize| self.tokens.get(at).map_or("", |token| token.text);
        let mut at = index;
        while matches!(text(at), "+" | "-") {
            at += 1;
        }
        at = match self.tokens.get(at)?.kind {
            Kind::Open => self.close_of(at)? + 1,
            Kind::Word => at + 1,
            Kind::Text => {
                let texts = self.tokens[at..].iter().take_while(|token| token.kind == Kind::Text);
                at + texts.count()
            }
            Kind::Close | Kind::Operator => return None,
        };
        loop {
            match text(at) {
                "(" | "[" => at = self.close_of(at)? + 1,
                "." | "|" if at + 1 < self.tokens.len() => at += 2,
                _ => return Some(at),
            }
        }
    }

    fn close_of(&self, open: usize) -> Option<usize> {
        let mut depth = 0;
        self.tokens.iter().enumerate().skip(open).find_map(|(at, token)| {
            depth += nesting(token);
            (depth == 0).then_some(at)
        })
    }

    fn open_of(&self, close: usize) -> Option<usize> {
        let mut depth = 0;
        (0..=close).rev().find(|at| {
            depth += nesting(&self.tokens[*at]);
            depth == 0
        })
    }
}

fn nesting(token: &Token) -> i32 {
    match token.kind {
        Kind::Open => 1,
        Kind::Close => -1,
        _ => 0,
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Of a name or a number, with the sign of its exponent. None: nothing comes after it.
fn word_length(text: &str) -> Option<usize> {
    let length = text.find(|c| !is_word(c))?;
    let digits = text[..length].strip_suffix(['e', 'E']).unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit() || c == b'_');
    match text[length..].strip_prefix(['+', '-']) {
        Some(exponent) if is_number && digits.starts_with(|c: char| c.is_ascii_digit()) => {
            Some(length + 1 + exponent.find(|c| !is_word(c))?)
        }
        _ => Some(length),
    }
}

/// Of a string with its quotes. None: it has no end.
fn text_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at + 1)
    })
}
