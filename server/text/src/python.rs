//! Python semantics where minijinja's differ from what Hugging Face templates are written for: what counts as white
//! space, methods, tests, and `dict`. Filters and the methods of strings have files of their own.

use minijinja::value::{from_args, Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use crate::repr::is_list;
use crate::{filters, methods};

/// `str.isspace`: Unicode white space, and the four separators U+001C to U+001F that Unicode leaves out.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

pub fn register(env: &mut Environment) {
    env.set_unknown_method_callback(method);
    filters::register(env);
    env.add_function("dict", dict);
    env.add_test("iterable", |value: &Value| {
        value.is_undefined()
            || matches!(
                value.kind(),
                ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
            )
    });
    env.add_test("callable", is_callable);
    env.add_test("sequence", |value: &Value| {
        value.is_undefined()
            || is_list(value)
            || matches!(value.kind(), ValueKind::String | ValueKind::Map)
    });
    env.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
}

/// What Python can call: functions and macros, and jinja2's undefined, which fails only when called.
fn is_callable(value: &Value) -> bool {
    value.is_undefined() || value.kind() == ValueKind::Plain
}

/// From a mapping or from pairs, and named entries after those.
fn dict(entries: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let Some(pairs) = entries.as_ref().filter(|value| value.kind() != ValueKind::Map) else {
        return minijinja::functions::dict(entries, named);
    };
    let mut entries = Vec::new();
    for pair in pairs.try_iter()? {
        let pair: Vec<Value> = pair.try_iter()?.collect();
        let [key, value] = pair.as_slice() else { return Err(invalid("dict needs pairs")) };
        entries.push((key.clone(), value.clone()));
    }
    minijinja::functions::dict(Some(Value::from_pairs(entries)), named)
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if let Some(result) = methods::call(text, name, args) {
            return result;
        }
    }
    match (name, value.kind()) {
        ("index", _) if is_list(value) => position(value, args),
        // Nothing that a template can reach changes a list or a dictionary: it is its own copy.
        ("copy", ValueKind::Map) => from_args::<()>(args).map(|()| value.clone()),
        ("copy", _) if is_list(value) && !value.is_tuple() => {
            from_args::<()>(args).map(|()| value.clone())
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// `list.index`.
fn position(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let items: Vec<Value> = list.try_iter()?.collect();
    let bound = |index: i64| match usize::try_from(index) {
        Ok(index) => index.min(items.len()),
        Err(_) => (items.len() as i64).saturating_add(index).max(0) as usize,
    };
    let (start, end) = (start.map_or(0, bound), end.map_or(items.len(), bound));
    let found = (start..end).find(|at| items[*at] == *what);
    found.map(Value::from).ok_or_else(|| invalid("the value is not in the list"))
}

pub fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
