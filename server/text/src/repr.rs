//! How Python writes values: `str` and `repr`.

use minijinja::value::ValueKind;
use minijinja::Value;

use crate::json::float_repr;
use crate::unicode::is_printable;

/// Nesting of the values a template can build; a deeper one would exhaust the stack.
const MAX_DEPTH: usize = 200;

/// `str(value)`.
pub fn to_text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Number | ValueKind::Map => repr(value),
        _ if is_list(value) => repr(value),
        _ => value.to_string(),
    }
}

/// `repr(value)`.
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

/// A list or tuple, also where minijinja puts it together only when it is read: slices, sums and products.
pub fn is_list(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Seq => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

/// Loops and namespaces: maps to minijinja, objects with attributes to Jinja.
pub fn is_object(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        ["Namespace", "Loop"].iter().any(|kind| object.type_name().ends_with(kind))
    })
}

fn write(out: &mut String, value: &Value, depth: usize) {
    match value.kind() {
        _ if depth > MAX_DEPTH => out.push_str("..."),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => out.push_str(&float(value)),
        ValueKind::Undefined => out.push_str("Undefined"),
        _ if is_list(value) => write_list(out, value, depth),
        ValueKind::Map if !is_object(value) => write_dict(out, value, depth),
        _ => out.push_str(&value.to_string()),
    }
}

fn float(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if number.is_nan() => "nan".to_string(),
        Ok(number) if number.is_finite() => float_repr(number),
        _ => value.to_string(),
    }
}

fn write_list(out: &mut String, value: &Value, depth: usize) {
    let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
    out.push(open);
    let mut count = 0;
    for item in value.try_iter().into_iter().flatten() {
        if count > 0 {
            out.push_str(", ");
        }
        write(out, &item, depth + 1);
        count += 1;
    }
    if value.is_tuple() && count == 1 {
        out.push(',');
    }
    out.push(close);
}

fn write_dict(out: &mut String, value: &Value, depth: usize) {
    out.push('{');
    for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, &key, depth + 1);
        out.push_str(": ");
        write(out, &value.get_item(&key).unwrap_or_default(), depth + 1);
    }
    out.push('}');
}

fn write_string(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote || c == '\\' => out.extend(['\\', c]),
            _ if is_printable(c) => out.push(c),
            _ => match c as u32 {
                code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push(quote);
}
