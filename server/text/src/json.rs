//! The `tojson` filter of Hugging Face templates: Python's json.dumps without ASCII or HTML escaping.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Nesting of the values a template can build; a deeper one would exhaust the stack.
const MAX_DEPTH: usize = 200;

struct Style {
    ascii: bool,
    /// None: everything on one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

pub fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(width) if width.is_none() => None,
        Some(width) => Some(match (width.as_str(), width.as_i64()) {
            (Some(text), _) => text.to_string(),
            (None, Some(count)) => " ".repeat(count.clamp(0, 64) as usize),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "tojson: indent must be a number",
                ))
            }
        }),
    };
    let (item_separator, key_separator) = match kwargs.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string())
        }
        _ if indent.is_some() => (",".to_string(), ": ".to_string()),
        _ => (", ".to_string(), ": ".to_string()),
    };
    let style = Style {
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        indent,
        item_separator,
        key_separator,
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_value(&mut out, value, &style, 0)?;
    Ok(Value::from(out))
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::BadSerialization,
            format!("tojson: the value is nested deeper than {MAX_DEPTH} levels"),
        ));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Seq | ValueKind::Iterable => return write_list(out, value, style, depth),
        ValueKind::Map => return write_map(out, value, style, depth),
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("tojson: an object of type {kind} is not JSON serializable"),
            ))
        }
    }
    Ok(())
}

fn write_list(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    out.push('[');
    let mut empty = true;
    for item in value.try_iter()? {
        begin_item(out, style, depth + 1, empty);
        empty = false;
        write_value(out, &item, style, depth + 1)?;
    }
    end_container(out, style, depth, empty);
    out.push(']');
    Ok(())
}

fn write_map(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    let mut keys: Vec<Value> = value.try_iter()?.collect();
    if style.sort_keys {
        keys.sort();
    }
    out.push('{');
    for (index, key) in keys.iter().enumerate() {
        begin_item(out, style, depth + 1, index == 0);
        write_key(out, key, style)?;
        out.push_str(&style.key_separator);
        write_value(out, &value.get_item(key)?, style, depth + 1)?;
    }
    end_container(out, style, depth, keys.is_empty());
    out.push('}');
    Ok(())
}

fn write_key(out: &mut String, key: &Value, style: &Style) -> Result<(), Error> {
    let text = match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_string(),
        ValueKind::None => "null".to_string(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_string(),
        ValueKind::Number => number(key),
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("tojson: keys must be strings or numbers, not {kind}"),
            ))
        }
    };
    write_string(out, &text, style.ascii);
    Ok(())
}

fn begin_item(out: &mut String, style: &Style, depth: usize, first: bool) {
    if !first {
        out.push_str(&style.item_separator);
    }
    new_line(out, style, depth);
}

fn end_container(out: &mut String, style: &Style, depth: usize, empty: bool) {
    if !empty {
        new_line(out, style, depth);
    }
}

fn new_line(out: &mut String, style: &Style, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }
}

fn write_string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if ascii && (c as u32) > 0x7e => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(number) if number.is_nan() => "NaN".to_string(),
        Ok(number) if number.is_infinite() => {
            if number > 0.0 { "Infinity" } else { "-Infinity" }.to_string()
        }
        Ok(number) => float_repr(number),
        Err(_) => value.to_string(),
    }
}

/// Python's repr of a finite float: shortest digits, an exponent below 1e-4 and from 1e16.
pub fn float_repr(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific };
    if !(-4..16).contains(&exponent) && number != 0.0 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}
