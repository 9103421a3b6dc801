//! Python's `%` on strings: minijinja's printf formatting, with what it lacks or counts otherwise put right before.

use minijinja::formatting::{self, FormatStyle};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use crate::python::invalid;
use crate::repr::{is_list, repr, to_text};
use crate::str_format::{count_padding, widened};

/// `text % args`: a tuple holds several arguments, a mapping named ones.
pub fn percent(text: &str, args: &Value) -> Result<Value, Error> {
    let list: Vec<Value> = match args.is_tuple() {
        true => args.try_iter()?.collect(),
        false => vec![args.clone()],
    };
    // Python lets a container by itself stay unused.
    let may_be_spare = !args.is_tuple() && (args.kind() == ValueKind::Map || is_list(args));
    let num_args = list.len();
    let (text, list, num_used) = adapted(text, list)?;
    if num_used < num_args && !may_be_spare {
        return Err(invalid("not all arguments converted during string formatting"));
    }
    formatting::format(FormatStyle::Printf, &text, &list).map(Value::from)
}

/// The format and its arguments as minijinja wants them, in the order of the fields, and how many of `args` are used.
fn adapted(text: &str, args: Vec<Value>) -> Result<(String, Vec<Value>, usize), Error> {
    let mut used = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut next = 0;
    let mut padding = 0;
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let key = rest.strip_prefix('(').and_then(|key| key.split_once(')'));
        let body = key.map_or(rest, |(_, body)| body);
        let is_kind = |c: char| !c.is_ascii_digit() && !"#-+ .*hlL".contains(c);
        let end = body.find(is_kind).ok_or_else(|| invalid("incomplete format"))?;
        if !body.as_bytes()[end].is_ascii_alphabetic() {
            return Err(invalid("unsupported format character"));
        }
        let (flags, kind) = (&body[..end], &body[end..=end]);
        rest = &body[end + 1..];
        count_padding(&mut padding, flags)?;
        let value = match key {
            Some((key, _)) => named(&args, key)?,
            None => {
                next += 1;
                let value = args.get(next - 1).cloned();
                value.ok_or_else(|| invalid("not enough arguments for format string"))?
            }
        };
        let (flags, kind, value) = adapted_field(flags, kind, value);
        out.push_str(&flags);
        out.push_str(kind);
        used.push(value);
    }
    out.push_str(rest);
    Ok((out, used, next))
}

fn named(args: &[Value], key: &str) -> Result<Value, Error> {
    let mapping = args.first().filter(|map| args.len() == 1 && map.kind() == ValueKind::Map);
    let mapping = mapping.ok_or_else(|| invalid("format requires a mapping"))?;
    let value = mapping.get_item(&Value::from(key))?;
    match value.is_undefined() {
        true => Err(invalid("the mapping has no value for a field of the format")),
        false => Ok(value),
    }
}

/// One field's flags with width and precision, its conversion, and its argument.
fn adapted_field<'a>(flags: &str, kind: &'a str, value: Value) -> (String, &'a str, Value) {
    match kind {
        "d" | "i" | "u" if value.kind() == ValueKind::Number && !value.is_integer() => {
            let whole = f64::try_from(value.clone()).ok().map(f64::trunc);
            let whole = whole.filter(|whole| whole.abs() < 1e18);
            (flags.to_string(), "d", whole.map_or(value, |whole| Value::from(whole as i64)))
        }
        "u" => (flags.to_string(), "d", value),
        "r" | "s" => {
            let text = if kind == "r" { repr(&value) } else { to_text(&value) };
            (widened(flags, &text), "s", Value::from(text))
        }
        _ => (flags.to_string(), kind, value),
    }
}
