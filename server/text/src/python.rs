//! Python semantics where minijinja's differ from what Hugging Face templates are written for: what counts as white
//! space, the string methods, and a few tests and filters.

use minijinja::value::{from_args, Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// `str.isspace`: Unicode white space, and the four separators U+001C to U+001F that Unicode leaves out.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

pub fn register(env: &mut Environment) {
    env.set_unknown_method_callback(method);
    env.add_filter("trim", |text: &Value, chars: Option<String>| -> Value {
        strip(&text.to_string(), chars.as_deref(), true, true)
    });
    env.add_test("iterable", |value: &Value| {
        value.is_undefined()
            || matches!(
                value.kind(),
                ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
            )
    });
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("escape", escape);
    env.add_filter("e", escape);
    env.add_filter("wordcount", |text: &Value| split_space(&text.to_string(), None).len());
    env.add_filter("center", |text: &Value, width: Option<usize>| -> String {
        center(&text.to_string(), width.unwrap_or(80))
    });
    env.add_test("callable", is_callable);
    env.add_test("sequence", |value: &Value| {
        value.is_undefined()
            || matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
}

/// The number that a string spells, or `default`.
fn int(value: &Value, default: Option<Value>, base: Option<u32>) -> Value {
    let fallback = || default.clone().unwrap_or_else(|| Value::from(0));
    if let Some(text) = value.as_str() {
        let text = text.trim_matches(is_space);
        let base = base.unwrap_or(10).clamp(2, 36);
        let lower = text.to_lowercase();
        let digits = match base {
            16 => lower.strip_prefix("0x").unwrap_or(&lower),
            8 => lower.strip_prefix("0o").unwrap_or(&lower),
            2 => lower.strip_prefix("0b").unwrap_or(&lower),
            _ => &lower,
        };
        let whole = i64::from_str_radix(digits, base).ok();
        return whole.or_else(|| truncated(text.parse().ok()?)).map_or_else(fallback, Value::from);
    }
    if value.is_integer() {
        return value.clone();
    }
    let number = f64::try_from(value.clone()).ok().and_then(truncated);
    number.map_or_else(fallback, Value::from)
}

fn truncated(number: f64) -> Option<i64> {
    (number.abs() < 9.0e18).then_some(number.trunc() as i64)
}

fn float(value: &Value, default: Option<Value>) -> Value {
    let number = match value.as_str() {
        Some(text) => text.trim_matches(is_space).parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    number.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
}

/// With markupsafe's entities.
fn escape(value: &Value) -> Value {
    let mut escaped = String::new();
    for c in value.to_string().chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            c => escaped.push(c),
        }
    }
    Value::from(escaped)
}

/// What Python can call: functions and macros, and jinja2's undefined, which fails only when called.
fn is_callable(value: &Value) -> bool {
    value.is_undefined() || value.kind() == ValueKind::Plain
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if let Some(result) = string_method(text, name, args) {
            return result;
        }
    }
    if name == "index" && value.kind() == ValueKind::Seq {
        let (what,): (&Value,) = from_args(args)?;
        let found = value.try_iter()?.position(|item| item == *what);
        return found.map(Value::from).ok_or_else(|| invalid("the value is not in the list"));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// None: not one of those that are done here.
fn string_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match name {
        "strip" => from_args(args).map(|(chars,): (Option<&str>,)| strip(text, chars, true, true)),
        "lstrip" => {
            from_args(args).map(|(chars,): (Option<&str>,)| strip(text, chars, true, false))
        }
        "rstrip" => {
            from_args(args).map(|(chars,): (Option<&str>,)| strip(text, chars, false, true))
        }
        "split" => split(text, args, false),
        "rsplit" => split(text, args, true),
        "splitlines" => split_lines(text, args),
        "partition" => partition(text, args, false),
        "rpartition" => partition(text, args, true),
        "removeprefix" => from_args(args)
            .map(|(prefix,): (&str,)| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(suffix,): (&str,)| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "isspace" => {
            from_args(args).map(|()| Value::from(!text.is_empty() && text.chars().all(is_space)))
        }
        "casefold" => from_args(args).map(|()| Value::from(text.to_lowercase())),
        "swapcase" => from_args(args).map(|()| Value::from(swap_case(text))),
        "zfill" => from_args(args).map(|(width,): (usize,)| Value::from(zero_fill(text, width))),
        "ljust" => justify(text, args, true),
        "rjust" => justify(text, args, false),
        "center" => from_args(args).map(|(width,): (usize,)| Value::from(center(text, width))),
        "index" => from_args(args).and_then(|(what,): (&str,)| match text.find(what) {
            Some(at) => Ok(Value::from(text[..at].chars().count())),
            None => Err(invalid("substring not found")),
        }),
        _ => return None,
    })
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

fn strip(text: &str, chars: Option<&str>, left: bool, right: bool) -> Value {
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

fn split_space(text: &str, max: Option<usize>) -> Vec<&str> {
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
        lines.push(Value::from(&rest[..if keep_ends { next } else { end }]));
        rest = &rest[next..];
    }
    Ok(Value::from(lines))
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
    Ok(Value::from(minijinja::value::Tuple::from(parts.map(Value::from))))
}

fn swap_case(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            swapped.extend(c.to_lowercase());
        } else {
            swapped.extend(c.to_uppercase());
        }
    }
    swapped
}

/// Widths beyond this are an attack, not a layout.
const MAX_WIDTH: usize = 1 << 20;

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
fn center(text: &str, width: usize) -> String {
    let spaces = missing(text, width);
    let left = spaces / 2 + (spaces & width & 1);
    format!("{}{text}{}", " ".repeat(left), " ".repeat(spaces - left))
}

fn justify(text: &str, args: &[Value], left: bool) -> Result<Value, Error> {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    let filler = fill.unwrap_or(" ").repeat(missing(text, width));
    Ok(Value::from(if left { format!("{text}{filler}") } else { format!("{filler}{text}") }))
}
