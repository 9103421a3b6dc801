//! What llguidance's own limits leave open in JSON schemas is refused here, and what it would misread is respelled.

use serde_json::{json, Map, Number, Value};

use crate::error::Result;
use crate::multiples::Multiple;
use crate::numbers::{check_values, respell_bounds};
use crate::one_of::resolve_one_of;
use crate::references::{check_references, refers_to_members, Keys};
use crate::schema_cost::check_cost;

/// Those that llguidance carries out; to others the standard gives no meaning of their own: they are for the reader.
const FORMATS: [&str; 11] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
    "unknown",
];

/// Refuses a schema that would take too much time or memory. What llguidance cannot carry out, or reads otherwise than
/// it is meant, becomes what means the same.
pub fn prepare_schema(schema: &mut Value) -> Result<()> {
    check_references(schema)?;
    resolve_one_of(schema);
    let has_fixed_places = refers_to_members(schema);
    change_each(schema, Keys::Keywords, &mut |schema| {
        if !has_fixed_places {
            fold_patterns(schema);
        }
        drop_annotations(schema);
        check_values(schema)?;
        respell_bounds(schema)
    })?;
    check_cost(schema)?;
    change_each(schema, Keys::Keywords, &mut |schema| respell_multiple(schema))
}

/// Calls `change` for each schema.
fn change_each(
    part: &mut Value,
    keys: Keys,
    change: &mut impl FnMut(&mut Map<String, Value>) -> Result<()>,
) -> Result<()> {
    match part {
        Value::Array(items) => {
            items.iter_mut().try_for_each(|item| change_each(item, Keys::Keywords, change))
        }
        Value::Object(members) => {
            if keys == Keys::Keywords {
                change(members)?;
            }
            for (key, value) in members {
                if let Some(within) = keys.within(key) {
                    change_each(value, within, change)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn respell_multiple(schema: &mut Map<String, Value>) -> Result<()> {
    let Some(number) = schema.get("multipleOf").and_then(Value::as_f64) else { return Ok(()) };
    if let Some(multiple) = Multiple::of(number)? {
        let readable = multiple.readable(number)?;
        if readable != number.abs() {
            schema.insert(
                "multipleOf".to_string(),
                Number::from_f64(readable).map_or(Value::Null, Value::Number),
            );
        }
    }
    Ok(())
}

/// A pattern that one named property alone can match becomes that property's: llguidance would offer a further member of
/// that pattern and find no name for it.
fn fold_patterns(schema: &mut Map<String, Value>) {
    let patterns = schema.get_mut("patternProperties").and_then(Value::as_object_mut);
    let Some(mut patterns) = patterns.map(std::mem::take) else { return };
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        patterns.retain(|pattern, value| {
            match only_match(pattern).and_then(|name| properties.get_mut(name)) {
                Some(property) => {
                    *property = json!({ "allOf": [property.take(), value.take()] });
                    false
                }
                None => true,
            }
        });
    }
    schema.insert("patternProperties".to_string(), Value::Object(patterns));
}

/// What a pattern spells that is a plain word as a whole.
fn only_match(pattern: &str) -> Option<&str> {
    let word = pattern.strip_prefix('^')?.strip_suffix('$')?;
    word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_').then_some(word)
}

/// What asks for nothing, and llguidance refuses all the same.
fn drop_annotations(schema: &mut Map<String, Value>) {
    schema.retain(|keyword, value| !says_nothing(keyword, value));
}

fn says_nothing(keyword: &str, value: &Value) -> bool {
    let is_empty = value.as_object().is_some_and(Map::is_empty);
    match keyword {
        "format" => value.as_str().is_some_and(|format| !FORMATS.contains(&format)),
        "uniqueItems" => *value == Value::Bool(false),
        "dependentSchemas" | "dependentRequired" | "dependencies" => is_empty,
        "propertyNames" | "unevaluatedItems" | "unevaluatedProperties" => {
            is_empty || *value == Value::Bool(true)
        }
        _ => false,
    }
}
