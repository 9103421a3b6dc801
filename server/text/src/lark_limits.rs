//! What llguidance's own limits leave open in a Lark grammar: intersections (`&`), how deep rules refer to each other,
//! and the JSON schemas in it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Deserializer, Value};

use crate::error::{Result, TextError};
use crate::pattern_width::{pattern, Pattern};
use crate::place::MAX_COST;
use crate::schema_limits::prepare_schema;

/// Of words, literals, brackets and signs: llguidance may have them all on its stack at once, and goes over them as often
/// as there are. A second or two, and some tens of megabytes.
const MAX_PARTS: usize = 30_000;
/// A terminal is compiled together with all that it is made of.
const MAX_DEPTH: usize = 1000;

/// A name that is defined, and the factors of what it is: by `&`, whatever brackets stand around it.
struct Definition<'a> {
    factors: Vec<Factor<'a>>,
}

#[derive(Default)]
struct Factor<'a> {
    width: f64,
    names: Vec<&'a str>,
}

/// The grammar with its schemas as llguidance can read them.
pub fn prepare_grammar(grammar: &str) -> Result<String> {
    let Reader { definitions, num_parts, result, .. } = Reader::read(grammar)?;
    if num_parts > MAX_PARTS {
        return Err(TextError::invalid(format!(
            "has {num_parts} words, literals, brackets and signs; at most {MAX_PARTS} are allowed: put some into one \
             regular expression"
        )));
    }
    let mut sizes = HashMap::new();
    let mut cost = 0.0;
    for name in definitions.keys() {
        let Size { width, depth } = size_of(name, &definitions, &mut sizes);
        let num_factors = definitions[name].factors.len();
        cost += if num_factors > 1 { width } else { 0.0 };
        if cost > MAX_COST {
            return Err(TextError::invalid(format!(
                "{name}: its {num_factors} expressions with & between them go on together in about {width:.0} \
                 combinations; at most {MAX_COST} are allowed in a grammar: use fewer &"
            )));
        }
        if depth > MAX_DEPTH {
            return Err(TextError::invalid(format!(
                "{name}: rules and terminals refer to each other {depth} levels deep from here; at most {MAX_DEPTH} are \
                 allowed: write some of them out"
            )));
        }
    }
    Ok(result)
}

#[derive(Clone, Copy)]
struct Size {
    width: f64,
    depth: usize,
}

fn size_of<'a>(
    name: &'a str,
    definitions: &BTreeMap<&'a str, Definition<'a>>,
    sizes: &mut HashMap<&'a str, Size>,
) -> Size {
    if let Some(known) = sizes.get(name) {
        return *known;
    }
    // What refers to itself is no terminal, and has no factors.
    sizes.insert(name, Size { width: 1.0, depth: 0 });
    let mut size = Size { width: 1.0, depth: 0 };
    for factor in definitions.get(name).iter().flat_map(|definition| &definition.factors) {
        let mut width = factor.width;
        for name in &factor.names {
            let part = size_of(name, definitions, sizes);
            width += part.width;
            size.depth = size.depth.max(1 + part.depth);
        }
        size.width *= width.max(1.0);
    }
    sizes.insert(name, size);
    size
}

/// A line's first name, and how far the definition before it had come.
struct Head<'a> {
    name: &'a str,
    num_factors: usize,
    width: f64,
    num_names: usize,
}

/// Splits a grammar into definitions, as far as it can be told without a parser. What is misunderstood is no grammar
/// for llguidance either.
struct Reader<'a> {
    definitions: BTreeMap<&'a str, Definition<'a>>,
    num_parts: usize,
    regex_units: f64,
    name: &'a str,
    current: Definition<'a>,
    /// A `:` makes it the next definition.
    head: Option<Head<'a>>,
    at_line_start: bool,
    result: String,
}

impl<'a> Reader<'a> {
    fn read(grammar: &'a str) -> Result<Reader<'a>> {
        let mut reader = Reader {
            definitions: BTreeMap::new(),
            num_parts: 0,
            regex_units: 0.0,
            name: "",
            current: Definition { factors: vec![Factor::default()] },
            head: None,
            at_line_start: true,
            result: String::with_capacity(grammar.len()),
        };
        let mut rest = grammar;
        while !rest.is_empty() {
            let length = reader.take(rest)?;
            rest = &rest[length..];
        }
        reader.finish_definition();
        Ok(reader)
    }

    /// Takes one token; its length.
    fn take(&mut self, rest: &'a str) -> Result<usize> {
        let length = token_length(rest);
        let token = &rest[..length];
        if let Some(after) = rest.strip_prefix("%json") {
            return Ok("%json".len() + self.take_schema(after)?);
        }
        self.result.push_str(token);
        let is_blank =
            token.trim_start().is_empty() || token.starts_with('#') || token.starts_with("//");
        self.num_parts += usize::from(!is_blank && token != "|" && token != ":");
        match token.as_bytes()[0] {
            b'\n' => {
                self.at_line_start = true;
                self.head = None;
            }
            b'&' => self.current.factors.push(Factor::default()),
            b':' => self.begin_definition(),
            b'"' => self.last_factor().width += 1.0,
            b'/' if !token.starts_with("//") => self.take_regex(token, &rest[length..])?,
            first if first.is_ascii_alphabetic() || first == b'_' => self.take_name(token),
            _ => {}
        }
        Ok(length)
    }

    fn take_schema(&mut self, text: &str) -> Result<usize> {
        self.result.push_str("%json");
        let mut values = Deserializer::from_str(text).into_iter::<Value>();
        // What is no JSON is for llguidance to refuse, or is a comment.
        let Some(Ok(mut schema)) = values.next() else { return Ok(0) };
        prepare_schema(&mut schema)?;
        self.result.push_str(&format!(" {schema}"));
        Ok(values.byte_offset())
    }

    /// `token`: between slashes, before its flags.
    fn take_regex(&mut self, token: &str, after: &str) -> Result<()> {
        let regex = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
        let mut flags = after.bytes().take_while(u8::is_ascii_lowercase);
        let Pattern { width, effort } = pattern(regex, flags.any(|flag| flag == b'i'))?;
        self.last_factor().width += width;
        self.regex_units += effort;
        if self.regex_units > MAX_COST {
            return Err(TextError::invalid(format!(
                "its regular expressions take more than {MAX_COST} units of work to read: use fewer classes as \\pL and \\w \
                 are, most of all where case does not matter, or fewer or shorter expressions"
            )));
        }
        Ok(())
    }

    fn take_name(&mut self, name: &'a str) {
        if self.at_line_start {
            let num_factors = self.current.factors.len();
            let Factor { width, names } = self.last_factor();
            self.head = Some(Head { name, num_factors, width: *width, num_names: names.len() });
            self.at_line_start = false;
        }
        self.last_factor().names.push(name);
    }

    fn begin_definition(&mut self) {
        let Some(head) = self.head.take() else { return };
        self.current.factors.truncate(head.num_factors);
        let last = self.last_factor();
        last.width = head.width;
        last.names.truncate(head.num_names);
        self.finish_definition();
        self.name = head.name;
    }

    fn finish_definition(&mut self) {
        let done =
            std::mem::replace(&mut self.current, Definition { factors: vec![Factor::default()] });
        self.definitions.insert(self.name, done);
    }

    fn last_factor(&mut self) -> &mut Factor<'a> {
        let last = self.current.factors.len() - 1;
        &mut self.current.factors[last]
    }
}

/// Of names, literals, comments and single characters. `text` is not empty.
fn token_length(text: &str) -> usize {
    let first = text.chars().next().map_or(1, char::len_utf8);
    let line = || text.find('\n').unwrap_or(text.len());
    match text.as_bytes()[0] {
        b'#' => line(),
        b'/' if text.starts_with("//") => line(),
        quote @ (b'"' | b'/') => {
            let mut escaped = false;
            let end = text.bytes().skip(1).position(|byte| {
                let is_end = byte == quote && !escaped;
                escaped = byte == b'\\' && !escaped;
                is_end
            });
            end.map_or(first, |end| end + 2)
        }
        // A special token, which may hold a colon.
        b'<' => match text[1..].find(|c: char| c == '<' || c == '>' || c.is_whitespace()) {
            Some(end) if text.as_bytes()[end + 1] == b'>' => end + 2,
            _ => first,
        },
        byte if byte.is_ascii_alphabetic() || byte == b'_' => text
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
            .unwrap_or(text.len()),
        _ => first,
    }
}
