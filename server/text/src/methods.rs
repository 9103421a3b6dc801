//! Python's string methods where minijinja's differ from them or are missing.

use minijinja::value::{from_args, Kwargs, Tuple};
use minijinja::{Error, Value};

use crate::python::{invalid, is_space};
use crate::str_format::str_format;
use crate::unicode;

/// None: not one of those that are done here.
pub fn call(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let stripped = |left: bool, right: bool| {
        from_args(args).map(|(chars,): (Option<&str>,)| strip(text, chars, left, right))
    };
    Some(match name {
        "strip" => stripped(true, true),
        "lstrip" => stripped(true, false),
        "rstrip" => stripped(false, true),
        "split" => split(text, args, false),
        "rsplit" => split(text, args, true),
        "splitlines" => split_lines(text, args),
        "partition" => partition(text, args, false),
        "rpartition" => partition(text, args, true),
        "removeprefix" => from_args(args)
            .map(|(prefix,): (&str,)| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(suffix,): (&str,)| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "zfill" => from_args(args).map(|(width,): (usize,)| Value::from(zero_fill(text, width))),
        "ljust" => pad(text, args, |_, _| 0),
        "rjust" => pad(text, args, |missing, _| missing),
        "center" => pad(text, args, left_of_center),
        "format" => str_format(text, args),
        "expandtabs" => expand_tabs(text, args),
        "find" | "index" => find(text, args, name == "index", |part, what| part.find(what)),
        "rfind" | "rindex" => find(text, args, name == "rindex", |part, what| part.rfind(what)),
        "count" => count(text, args),
        "startswith" => has_affix(text, args, |part, affix| part.starts_with(affix)),
        "endswith" => has_affix(text, args, |part, affix| part.ends_with(affix)),
        _ => return convert(text, name, args),
    })
}

/// The methods without arguments.
fn convert(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let all = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    let result = match name {
        "isspace" => all(is_space),
        "isdecimal" => all(unicode::is_decimal),
        "isdigit" => all(unicode::is_digit),
        "istitle" => Value::from(unicode::is_title(text)),
        "isidentifier" => Value::from(unicode::is_identifier(text)),
        "casefold" => Value::from(unicode::case_fold(text)),
        "swapcase" => Value::from(unicode::swap_case(text)),
        "title" => Value::from(unicode::title(text)),
        _ => return None,
    };
    Some(from_args::<()>(args).map(|()| result))
}

pub fn strip(text: &str, chars: Option<&str>, left: bool, right: bool) -> Value {
    let drop = |c: char| chars.map_or_else(|| is_space(c), |set| set.contains(c));
    let text = if left { text.trim_start_matches(drop) } else { text };
    Value::from(if right { text.trim_end_matches(drop) } else { text })
}

/// `sep` and `maxsplit` by position or name.
fn split_options(args: &[Value]) -> Result<(Option<String>, Option<usize>), Error> {
    let (sep, max, kwargs): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let sep = match sep {
        Some(sep) => Some(sep),
        None => kwargs.get::<Option<Value>>("sep")?,
    };
    let max = max.or(kwargs.get::<Option<i64>>("maxsplit")?).unwrap_or(-1);
    kwargs.assert_all_used()?;
    let sep = match sep {
        Some(sep) if !sep.is_none() => {
            Some(sep.as_str().ok_or_else(|| invalid("the separator must be a string"))?.to_string())
        }
        _ => None,
    };
    Ok((sep, usize::try_from(max).ok()))
}

fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (sep, max) = split_options(args)?;
    let parts: Vec<&str> = match (sep.as_deref(), from_right) {
        (Some(""), _) => return Err(invalid("empty separator")),
        (Some(sep), false) => match max {
            Some(max) => text.splitn(max.saturating_add(1), sep).collect(),
            None => text.split(sep).collect(),
        },
        (Some(sep), true) => {
            let mut parts: Vec<&str> = match max {
                Some(max) => text.rsplitn(max.saturating_add(1), sep).collect(),
                None => text.rsplit(sep).collect(),
            };
            parts.reverse();
            parts
        }
        (None, false) => split_space(text, max),
        (None, true) => split_space_from_right(text, max),
    };
    Ok(Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>()))
}

pub fn split_space(text: &str, max: Option<usize>) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if max.is_some_and(|max| parts.len() >= max) {
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

fn split_space_from_right(text: &str, max: Option<usize>) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if max.is_some_and(|max| parts.len() >= max) {
            parts.push(rest);
            break;
        }
        let start = rest
            .char_indices()
            .rev()
            .find(|(_, c)| is_space(*c))
            .map_or(0, |(at, c)| at + c.len_utf8());
        parts.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep_ends, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
    let keep_ends = keep_ends.or(kwargs.get::<Option<bool>>("keepends")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    Ok(Value::from(lines(text, keep_ends).into_iter().map(Value::from).collect::<Vec<_>>()))
}

/// `str.splitlines`.
pub fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (end, next) = match rest.find(is_end) {
            None => (rest.len(), rest.len()),
            Some(at) if rest[at..].starts_with("\r\n") => (at, at + 2),
            Some(at) => (at, at + rest[at..].chars().next().map_or(0, char::len_utf8)),
        };
        lines.push(&rest[..if keep_ends { next } else { end }]);
        rest = &rest[next..];
    }
    lines
}

fn partition(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (sep,): (&str,) = from_args(args)?;
    if sep.is_empty() {
        return Err(invalid("empty separator"));
    }
    let found = if from_right { text.rsplit_once(sep) } else { text.split_once(sep) };
    let parts = match found {
        Some((before, after)) => [before, sep, after],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// Widths beyond this are an attack, not a layout.
const MAX_WIDTH: usize = 1 << 20;
/// Of a text whose tabs were expanded, in bytes.
const MAX_EXPANDED: usize = 64 << 20;

fn missing(text: &str, width: usize) -> usize {
    width.min(MAX_WIDTH).saturating_sub(text.chars().count())
}

fn zero_fill(text: &str, width: usize) -> String {
    let (sign, digits) = match text.chars().next() {
        Some('+' | '-') => text.split_at(1),
        _ => ("", text),
    };
    format!("{sign}{}{digits}", "0".repeat(missing(text, width)))
}

/// The odd space goes where CPython puts it.
pub fn left_of_center(missing: usize, width: usize) -> usize {
    missing / 2 + (missing & width & 1)
}

/// `left`: how many of the missing characters go to the left, of how many in which width.
fn pad(text: &str, args: &[Value], left: fn(usize, usize) -> usize) -> Result<Value, Error> {
    let (width, fill): (i64, Option<char>) = from_args(args)?;
    Ok(Value::from(padded(text, usize::try_from(width).unwrap_or(0), fill.unwrap_or(' '), left)))
}

pub fn padded(text: &str, width: usize, fill: char, left: fn(usize, usize) -> usize) -> String {
    let missing = missing(text, width);
    let left = left(missing, width);
    let fill = |count: usize| fill.to_string().repeat(count);
    format!("{}{text}{}", fill(left), fill(missing - left))
}

fn expand_tabs(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (size, kwargs): (Option<i64>, Kwargs) = from_args(args)?;
    let size = size.or(kwargs.get::<Option<i64>>("tabsize")?).unwrap_or(8);
    kwargs.assert_all_used()?;
    let size = usize::try_from(size).unwrap_or(0).min(MAX_WIDTH);
    let mut expanded = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                if expanded.len() + spaces > MAX_EXPANDED {
                    return Err(invalid("the text with its tabs expanded is too long"));
                }
                expanded.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            '\t' => {}
            c => {
                expanded.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(Value::from(expanded))
}

/// The characters from `start` to `end` as a slice takes them, and how many stand before. None: `start` is beyond.
fn window(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    let count = text.chars().count();
    let position = |index: i64| match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => count.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(count)),
    };
    let start = start.map_or(0, position);
    let end = end.map_or(count, position).min(count);
    let byte = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    (start <= end).then(|| (start, &text[byte(start)..byte(end)]))
}

fn find(
    text: &str,
    args: &[Value],
    must_exist: bool,
    search: fn(&str, &str) -> Option<usize>,
) -> Result<Value, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let found = window(text, start, end).and_then(|(before, part)| {
        search(part, what).map(|at| before + part[..at].chars().count())
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if must_exist => Err(invalid("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

fn count(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let part = window(text, start, end);
    Ok(Value::from(part.map_or(0, |(_, part)| part.matches(what).count())))
}

fn has_affix(text: &str, args: &[Value], test: fn(&str, &str) -> bool) -> Result<Value, Error> {
    let (affix, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let choices = match affix.is_tuple() {
        true => affix.try_iter()?.collect(),
        false => vec![affix.clone()],
    };
    let part = window(text, start, end);
    for choice in choices {
        let choice =
            choice.as_str().ok_or_else(|| invalid("expected a string or a tuple of strings"))?;
        if part.is_some_and(|(_, part)| test(part, choice)) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}
