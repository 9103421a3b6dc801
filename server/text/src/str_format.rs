//! `str.format`: minijinja's, with the conversions `!r` and `!s` carried out before it.

use minijinja::formatting::{self, FormatStyle};
use minijinja::value::{from_args, Kwargs};
use minijinja::{Error, Value};

use crate::python::invalid;
use crate::repr::{repr, to_text};

pub fn str_format(text: &str, args: &[Value]) -> Result<Value, Error> {
    let formatted = match converted(text, args)? {
        Some((text, args)) => formatting::format(FormatStyle::StrFormat, &text, &args),
        None => formatting::format(FormatStyle::StrFormat, text, args),
    };
    formatted.map(Value::from)
}

/// The fields with a conversion refer to arguments appended for them. None: no field has one.
fn converted(text: &str, args: &[Value]) -> Result<Option<(String, Vec<Value>)>, Error> {
    let (given, named): (&[Value], Kwargs) = from_args(args)?;
    let mut all = given.to_vec();
    let mut out = String::new();
    let mut next = 0;
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
        let (name, conversion) = head.split_once('!').unwrap_or((head, ""));
        // All fields are numbered, since those that are converted have to be.
        let mut name = name.to_string();
        if name.is_empty() {
            name = next.to_string();
            next += 1;
        }
        if !conversion.is_empty() {
            let value = argument(&name, given, &named)?;
            name = all.len().to_string();
            all.push(Value::from(convert(&value, conversion)?));
        }
        out.push_str(&format!("{{{name}{specification}}}"));
    }
    out.push_str(rest);
    if all.len() == given.len() {
        return Ok(None);
    }
    all.extend_from_slice(&args[given.len()..]);
    Ok(Some((out, all)))
}

fn argument(name: &str, given: &[Value], named: &Kwargs) -> Result<Value, Error> {
    match name.parse::<usize>() {
        Ok(index) => given.get(index).cloned().ok_or_else(|| invalid("format: too few arguments")),
        Err(_) => named.peek::<Value>(name),
    }
}

fn convert(value: &Value, conversion: &str) -> Result<String, Error> {
    match conversion {
        "r" => Ok(repr(value)),
        "s" => Ok(to_text(value)),
        _ => Err(invalid("format: the conversion must be !r or !s")),
    }
}
