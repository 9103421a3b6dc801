//! Jinja's filters where minijinja's differ from them in arguments or results, or are missing.

use minijinja::value::{from_args, Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use crate::python::{invalid, is_space};
use crate::repr::{is_object, to_text};
use crate::{methods, printf};

pub fn register(env: &mut Environment) {
    env.add_filter("trim", |text: &Value, chars: Option<String>| -> Value {
        methods::strip(&to_text(text), chars.as_deref(), true, true)
    });
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("abs", |value: &Value| minijinja::filters::abs(as_number(value)));
    env.add_filter("upper", |text: &Value| to_text(text).to_uppercase());
    env.add_filter("lower", |text: &Value| to_text(text).to_lowercase());
    env.add_filter("join", join);
    env.add_filter("escape", escape);
    env.add_filter("e", escape);
    env.add_filter("forceescape", force_escape);
    env.add_filter("wordcount", |text: &Value| methods::split_space(&to_text(text), None).len());
    env.add_filter("center", |text: &Value, width: Option<usize>| -> String {
        methods::padded(&to_text(text), width.unwrap_or(80), ' ', methods::left_of_center)
    });
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("replace", replace);
    env.add_filter("truncate", truncate);
    env.add_filter("indent", indent);
    env.add_filter("format", format);
    env.add_filter("urlencode", url_encode);
    env.add_filter("map", map);
    env.add_filter("attr", attr);
    env.add_filter("string", |value: &Value| Value::from(to_text(value)));
    // What template_source writes for a `%` that formats, and for a method that is not called.
    env.add_filter("__mod__", percent);
    env.add_filter("__getattr__", method_or_attribute);
}

/// True and False are numbers to Python.
fn as_number(value: &Value) -> Value {
    match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        _ => value.clone(),
    }
}

type Args = Rest<ValueOrKwargs>;

/// Arguments by position, then by name.
fn bind<const N: usize>(args: Args, names: [&str; N]) -> Result<[Option<Value>; N], Error> {
    let args = args.into_values();
    let (given, named): (&[Value], Kwargs) = from_args(&args)?;
    if given.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound = [const { None }; N];
    for (index, name) in names.into_iter().enumerate() {
        bound[index] = match given.get(index) {
            Some(value) => Some(value.clone()),
            None if named.has(name) => Some(named.get::<Value>(name)?),
            None => None,
        };
    }
    named.assert_all_used()?;
    Ok(bound)
}

fn required(value: Option<Value>) -> Result<String, Error> {
    value.map(|value| to_text(&value)).ok_or_else(|| Error::from(ErrorKind::MissingArgument))
}

fn flag(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}

/// A length or width.
fn size(value: Option<Value>, default: usize) -> Result<usize, Error> {
    let value = value.filter(|value| !value.is_none());
    value.map_or(Ok(default), |value| usize::try_from(as_number(&value)))
}

/// minijinja has integers of 128 bits.
const MAX_INT: f64 = 1.0e38;

/// The number that a string spells, or `default`.
fn int(value: &Value, args: Args) -> Result<Value, Error> {
    let [default, base] = bind(args, ["default", "base"])?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let base = size(base, 10)?.clamp(2, 36) as u32;
    let number = match value.as_str() {
        Some(text) => spelled_int(text.trim_matches(is_space), base),
        None if value.is_integer() => return Ok(value.clone()),
        None => f64::try_from(as_number(value)).ok().and_then(truncated),
    };
    Ok(number.map_or(default, Value::from))
}

fn spelled_int(text: &str, base: u32) -> Option<i128> {
    let lower = text.to_lowercase();
    let digits = match base {
        16 => lower.strip_prefix("0x").unwrap_or(&lower),
        8 => lower.strip_prefix("0o").unwrap_or(&lower),
        2 => lower.strip_prefix("0b").unwrap_or(&lower),
        _ => &lower,
    };
    i128::from_str_radix(digits, base).ok().or_else(|| truncated(text.parse().ok()?))
}

fn truncated(number: f64) -> Option<i128> {
    (number.abs() < MAX_INT).then_some(number.trunc() as i128)
}

fn float(value: &Value, args: Args) -> Result<Value, Error> {
    let [default] = bind(args, ["default"])?;
    let default = default.unwrap_or_else(|| Value::from(0.0));
    let number = match value.as_str() {
        Some(text) => text.trim_matches(is_space).parse::<f64>().ok(),
        None => f64::try_from(as_number(value)).ok(),
    };
    Ok(number.map_or(default, Value::from))
}

/// What is escaped or marked as safe stays as it is.
fn escape(value: &Value) -> Value {
    match value.is_safe() {
        true => value.clone(),
        false => force_escape(value),
    }
}

/// With markupsafe's entities.
fn force_escape(value: &Value) -> Value {
    let mut escaped = String::new();
    for c in to_text(value).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            c => escaped.push(c),
        }
    }
    Value::from_safe_string(escaped)
}

fn default(value: &Value, args: Args) -> Result<Value, Error> {
    let [other, boolean] = bind(args, ["default_value", "boolean"])?;
    if value.is_undefined() || (flag(boolean) && !value.is_true()) {
        return Ok(other.unwrap_or_else(|| Value::from("")));
    }
    Ok(value.clone())
}

fn replace(value: &Value, args: Args) -> Result<Value, Error> {
    let [old, new, count] = bind(args, ["old", "new", "count"])?;
    let (old, new) = (required(old)?, required(new)?);
    let text = to_text(value);
    // A negative count is as none.
    let count = match count.filter(|count| !count.is_none()) {
        Some(count) => usize::try_from(i64::try_from(as_number(&count))?).ok(),
        None => None,
    };
    Ok(Value::from(match count {
        Some(count) => text.replacen(&old, &new, count),
        None => text.replace(&old, &new),
    }))
}

/// By whole words, except with `killwords`; `leeway` characters too many stay.
fn truncate(value: &Value, args: Args) -> Result<Value, Error> {
    let [length, killwords, end, leeway] = bind(args, ["length", "killwords", "end", "leeway"])?;
    let (length, leeway) = (size(length, 255)?, size(leeway, 5)?);
    let killwords = flag(killwords);
    let end = end.map_or_else(|| "...".to_string(), |end| to_text(&end));
    let text = value.as_str().ok_or_else(|| invalid("truncate: the value is not a string"))?;
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        return Err(invalid("truncate: the length is less than that of the end"));
    };
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let kept: String = text.chars().take(kept).collect();
    let whole = match kept.rsplit_once(' ') {
        Some((words, _)) if !killwords => words,
        _ => &kept,
    };
    Ok(Value::from(format!("{whole}{end}")))
}

/// Joined to more bytes it is an attack, not a text.
const MAX_JOINED: usize = 64 << 20;

fn join(state: &mut State, value: &Value, args: Args) -> Result<Value, Error> {
    let [joiner, attribute] = bind(args, ["d", "attribute"])?;
    let joiner = joiner.map_or_else(String::new, |joiner| to_text(&joiner));
    let items = match attribute.filter(|attribute| !attribute.is_none()) {
        Some(attribute) => {
            let attribute = Value::from(Kwargs::from_iter([("attribute", attribute)]));
            state.apply_filter("map", &[value.clone(), attribute])?
        }
        None => value.clone(),
    };
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        state.consume_fuel(1)?;
        if index > 0 {
            joined.push_str(&joiner);
        }
        joined.push_str(&to_text(&item));
        if joined.len() > MAX_JOINED {
            return Err(invalid("join: the text is too long"));
        }
    }
    Ok(Value::from(joined))
}

/// An indentation beyond this many bytes is an attack, not a layout.
const MAX_INDENTATION: usize = 64 << 20;

fn indent(value: &Value, args: Args) -> Result<Value, Error> {
    let [width, first, blank] = bind(args, ["width", "first", "blank"])?;
    let (first, blank) = (flag(first), flag(blank));
    let indention = match width.as_ref().and_then(Value::as_str) {
        Some(text) => text.to_string(),
        None => " ".repeat(size(width, 4)?.min(MAX_INDENTATION)),
    };
    // Jinja appends a line end as well, so that a last empty line counts.
    let text = format!("{}\n", to_text(value));
    let lines = methods::lines(&text, false);
    if lines.len().saturating_mul(indention.len()) > MAX_INDENTATION {
        return Err(invalid("indent: the indentation is too long for so many lines"));
    }
    let mut indented = String::new();
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            indented.push_str(&indention);
        }
        indented.push_str(line);
    }
    Ok(Value::from(indented))
}

/// A string, or the pairs of a mapping as a query.
fn url_encode(value: &Value) -> Result<Value, Error> {
    let pairs: Vec<Value> = match value.kind() {
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.collect();
            let pair = |key: Value| Ok(Value::from(vec![key.clone(), value.get_item(&key)?]));
            keys.into_iter().map(pair).collect::<Result<_, Error>>()?
        }
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.collect(),
        _ => return Ok(Value::from(quoted(&to_text(value), "/", "%20"))),
    };
    let part = |value: Value| quoted(&to_text(&value), "", "+");
    let mut query = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let (key, value) = (pair.get_item_by_index(0)?, pair.get_item_by_index(1)?);
        query.push(format!("{}={}", part(key), part(value)));
    }
    Ok(Value::from(query.join("&")))
}

fn quoted(text: &str, safe: &str, space: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => quoted.push_str(space),
            b'_' | b'.' | b'-' | b'~' => quoted.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() || safe.as_bytes().contains(&byte) => {
                quoted.push(char::from(byte))
            }
            _ => quoted.push_str(&format!("%{byte:02X}")),
        }
    }
    quoted
}

/// minijinja's, which drops the named arguments of the filter that it applies.
fn map(state: &mut State, value: Value, args: Args) -> Result<Value, Error> {
    let args = args.into_values();
    let named = args.last().filter(|last| last.is_kwargs());
    let maps_filter = match named {
        Some(named) => named.get_attr("attribute")?.is_undefined(),
        None => false,
    };
    let name = args.first().and_then(Value::as_str).filter(|_| maps_filter);
    let Some(name) = name else {
        let (args,) = from_args::<(Args,)>(&args)?;
        return minijinja::filters::map(state, value, args).map(Value::from);
    };
    let mut mapped = Vec::new();
    for item in value.try_iter()? {
        state.consume_fuel(1)?;
        let mut filter_args = vec![item];
        filter_args.extend_from_slice(&args[1..]);
        mapped.push(state.apply_filter(name, &filter_args)?);
    }
    Ok(Value::from(mapped))
}

/// An attribute, never an item: a dictionary of the conversation has no attributes but its methods.
fn attr(value: &Value, name: &Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::Map && !is_object(value) {
        return Ok(Value::UNDEFINED);
    }
    minijinja::filters::attr(value, name)
}

/// A dictionary's method, which hides an entry of that name. It is there, and that is all.
fn method_or_attribute(value: &Value, name: &str) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Map if !is_object(value) => {
            Ok(Value::from_function(|| -> Result<Value, Error> {
                Err(invalid("call the method where it is named"))
            }))
        }
        _ => value.get_attr(name),
    }
}

/// Python's `%`: it formats where a string is on the left.
fn percent(left: &Value, right: &Value) -> Result<Value, Error> {
    match left.as_str() {
        Some(text) => printf::percent(text, right),
        None => remainder(&as_number(left), &as_number(right)),
    }
}

fn format(value: &Value, args: Args) -> Result<Value, Error> {
    let args = args.into_values();
    let text = to_text(value);
    match args.as_slice() {
        [named] if named.is_kwargs() => printf::percent(&text, named),
        _ => printf::percent(&text, &Value::from(Tuple::from(args))),
    }
}

/// With the divisor's sign.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    if left.is_integer() && right.is_integer() {
        let (left, right) = (i128::try_from(left.clone())?, i128::try_from(right.clone())?);
        let rest = left.checked_rem(right).ok_or_else(|| invalid("integer modulo by zero"))?;
        let wrong_sign = rest != 0 && (rest < 0) != (right < 0);
        return Ok(Value::from(if wrong_sign { rest + right } else { rest }));
    }
    let (left, right) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
    if right == 0.0 {
        return Err(invalid("float modulo by zero"));
    }
    let rest = left % right;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (right < 0.0) { rest + right } else { rest }))
}
