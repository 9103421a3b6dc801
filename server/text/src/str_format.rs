//! `str.format`: minijinja's, with the conversions `!r` and `!s` carried out and widths in characters put right before it.

use minijinja::formatting::{self, FormatStyle};
use minijinja::value::{from_args, Kwargs};
use minijinja::{Error, Value};

use crate::python::invalid;
use crate::repr::{repr, to_text};

pub fn str_format(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (text, args) = adapted(text, args)?;
    formatting::format(FormatStyle::StrFormat, &text, &args).map(Value::from)
}

/// Fields refer to arguments appended for them, converted, all but those that name an attribute or item; widths count
/// bytes.
fn adapted(text: &str, args: &[Value]) -> Result<(String, Vec<Value>), Error> {
    let (given, named): (&[Value], Kwargs) = from_args(args)?;
    let mut all = given.to_vec();
    let mut out = String::new();
    let mut next = 0;
    let mut padding = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let field = rest.strip_prefix('{').filter(|field| !field.starts_with('{'));
        let Some((field, after)) = field.and_then(|field| field.split_once('}')) else {
            let is_escaped = rest.starts_with("{{") || rest.starts_with("}}");
            let (brace, after) = rest.split_at(if is_escaped { 2 } else { 1 });
            out.push_str(brace);
            rest = after;
            continue;
        };
        rest = after;
        let (head, specification) = field.split_at(field.find(':').unwrap_or(field.len()));
        count_padding(&mut padding, specification)?;
        let (name, conversion) = head.split_once('!').unwrap_or((head, ""));
        let mut name = name.to_string();
        if name.is_empty() || name.starts_with(['.', '[']) {
            name.insert_str(0, &next.to_string());
            next += 1;
        }
        if name.contains(['.', '[']) && conversion.is_empty() {
            out.push_str(&format!("{{{name}{specification}}}"));
            continue;
        }
        let mut value = convert(argument(&name, given, &named)?, conversion)?;
        if specification.len() <= 1 {
            value = Value::from(to_text(&value));
        }
        let specification =
            value.as_str().map_or(specification.to_string(), |text| widened(specification, text));
        out.push_str(&format!("{{{}{specification}}}", all.len()));
        all.push(value);
    }
    out.push_str(rest);
    all.extend_from_slice(&args[given.len()..]);
    Ok((out, all))
}

/// Characters that the widths and precisions of one format may ask for; more is an attack, not a layout.
const MAX_PADDING: usize = 64 << 20;

/// Adds what a field's specification asks for to what those before it did. Beyond its fill it must be ASCII: minijinja
/// panics otherwise.
pub fn count_padding(total: &mut usize, specification: &str) -> Result<(), Error> {
    let fill = specification.find(['<', '>', '^']).unwrap_or(0);
    if !specification[fill..].is_ascii() {
        return Err(invalid("format: unknown format code"));
    }
    for number in specification.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()) {
        *total = total.saturating_add(number.parse().unwrap_or(usize::MAX));
    }
    if *total > MAX_PADDING {
        return Err(invalid("format: the widths and precisions are too large"));
    }
    Ok(())
}

/// A format specification whose width counts bytes, as minijinja's does, for `text` and a width in characters.
pub fn widened(specification: &str, text: &str) -> String {
    let unchanged = specification.to_string();
    // What fills may be a digit.
    let begin = match specification.find(['<', '>', '^']) {
        Some(align) => align + 1,
        None => 0,
    };
    let digits =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let Some(at) = specification[begin..].find(|c: char| matches!(c, '1'..='9')) else {
        return unchanged;
    };
    let (before, width) = specification.split_at(begin + at);
    let (width, after) = width.split_at(digits(width));
    if before.ends_with('.') {
        return unchanged;
    }
    let shown = after.strip_prefix('.').and_then(|after| after[..digits(after)].parse().ok());
    let chars = text.chars().take(shown.unwrap_or(usize::MAX));
    let extra: usize = chars.map(|c| c.len_utf8() - 1).sum();
    match width.parse::<usize>() {
        Ok(width) => format!("{before}{}{after}", width.saturating_add(extra)),
        Err(_) => unchanged,
    }
}

fn argument(name: &str, given: &[Value], named: &Kwargs) -> Result<Value, Error> {
    match name.parse::<usize>() {
        Ok(index) => given.get(index).cloned().ok_or_else(|| invalid("format: too few arguments")),
        Err(_) => named.peek::<Value>(name),
    }
}

fn convert(value: Value, conversion: &str) -> Result<Value, Error> {
    match conversion {
        "" => Ok(value),
        "r" => Ok(Value::from(repr(&value))),
        "s" => Ok(Value::from(to_text(&value))),
        _ => Err(invalid("format: the conversion must be !r or !s")),
    }
}
