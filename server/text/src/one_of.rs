//! oneOf, as llguidance can carry it out: where the alternatives exclude each other, it is anyOf.

use std::collections::BTreeMap;

use serde_json::{json, Map, Value};

use crate::references::{target_of, Keys};

/// Each alternative is compared with each: more stay as they are.
const MAX_ALTERNATIVES: usize = 300;
/// References and parts of allOf that say something of one value.
const MAX_PARTS: usize = 20;

/// Makes every oneOf an anyOf of which at most one alternative can hold: by their types, by their const or enum, or by
/// those of a required property, as of a union's tag.
pub fn resolve_one_of(document: &mut Value) {
    let original = document.clone();
    resolve(document, Keys::Keywords, &original);
}

fn resolve(part: &mut Value, keys: Keys, document: &Value) {
    match part {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| resolve(item, Keys::Keywords, document));
        }
        Value::Object(schema) => {
            let is_apart = matches!(schema.get("oneOf"), Some(Value::Array(alternatives))
                if are_apart(alternatives, document));
            if is_apart && keys == Keys::Keywords {
                let alternatives = schema.remove("oneOf").unwrap_or_default();
                put_any_of(schema, alternatives);
            }
            for (key, value) in schema {
                if let Some(within) = keys.within(key) {
                    resolve(value, within, document);
                }
            }
        }
        _ => {}
    }
}

fn put_any_of(schema: &mut Map<String, Value>, alternatives: Value) {
    if !schema.contains_key("anyOf") {
        schema.insert("anyOf".to_string(), alternatives);
        return;
    }
    let all = schema.entry("allOf").or_insert_with(|| json!([]));
    if let Value::Array(all) = all {
        all.push(json!({ "anyOf": alternatives }));
    }
}

fn are_apart(alternatives: &[Value], document: &Value) -> bool {
    if alternatives.len() > MAX_ALTERNATIVES {
        return false;
    }
    let facts: Vec<Facts> = alternatives.iter().map(|each| Facts::of(each, document)).collect();
    facts.iter().enumerate().all(|(i, a)| facts[..i].iter().all(|b| a.excludes(b)))
}

/// What has to hold of a value for a schema to hold, as far as it tells schemas apart.
struct Facts<'a> {
    types: u32,
    values: Option<Vec<&'a Value>>,
    /// Of required properties that have to have one of a few values.
    tags: BTreeMap<&'a str, Vec<&'a Value>>,
}

const ANY_TYPE: u32 = 0x7f;
const OBJECT: u32 = 1;

/// An integer is a number too.
fn type_bits(name: &str) -> u32 {
    match name {
        "object" => OBJECT,
        "array" => 2,
        "string" => 4,
        "boolean" => 8,
        "null" => 16,
        "integer" => 32,
        "number" => 32 | 64,
        _ => ANY_TYPE,
    }
}

impl<'a> Facts<'a> {
    fn of(schema: &'a Value, document: &'a Value) -> Facts<'a> {
        let mut facts = Facts { types: ANY_TYPE, values: None, tags: BTreeMap::new() };
        for part in parts_of(schema, document) {
            match part {
                Value::Bool(false) => facts.types = 0,
                Value::Object(members) => facts.add(members, document),
                _ => {}
            }
        }
        facts
    }

    fn add(&mut self, schema: &'a Map<String, Value>, document: &'a Value) {
        match schema.get("type") {
            Some(Value::String(name)) => self.types &= type_bits(name),
            Some(Value::Array(names)) => {
                self.types &= names.iter().filter_map(Value::as_str).fold(0, |all, name| all | type_bits(name));
            }
            _ => {}
        }
        if let Some(values) = values_of(schema) {
            self.values.get_or_insert(values);
        }
        let Some(Value::Object(properties)) = schema.get("properties") else { return };
        let Some(Value::Array(required)) = schema.get("required") else { return };
        for name in required.iter().filter_map(Value::as_str) {
            let Some(property) = properties.get(name) else { continue };
            let parts = parts_of(property, document);
            if let Some(values) = parts.iter().filter_map(|part| values_of(part.as_object()?)).next() {
                self.tags.entry(name).or_insert(values);
            }
        }
    }

    fn excludes(&self, other: &Facts) -> bool {
        if self.types & other.types == 0 {
            return true;
        }
        if matches!((&self.values, &other.values), (Some(a), Some(b)) if have_nothing_in_common(a, b)) {
            return true;
        }
        self.types == OBJECT
            && other.types == OBJECT
            && self.tags.iter().any(|(name, values)| {
                other.tags.get(name).is_some_and(|others| have_nothing_in_common(values, others))
            })
    }
}

/// The schema and what it says by $ref and allOf.
fn parts_of<'a>(schema: &'a Value, document: &'a Value) -> Vec<&'a Value> {
    let mut parts = vec![schema];
    let mut next = 0;
    while next < parts.len() && parts.len() < MAX_PARTS {
        if let Some(reference) = parts[next].get("$ref").and_then(Value::as_str) {
            parts.extend(target_of(document, reference).ok().flatten());
        }
        if let Some(Value::Array(all)) = parts[next].get("allOf") {
            parts.extend(all.iter().take(MAX_PARTS));
        }
        next += 1;
    }
    parts
}

fn values_of(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// By JSON's meaning, in which 1 is 1.0; of lists and objects that is not looked at, so that they may be equal.
fn have_nothing_in_common(a: &[&Value], b: &[&Value]) -> bool {
    a.iter().all(|x| b.iter().all(|y| is_different(x, y)))
}

fn is_different(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() != b.as_f64(),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => false,
        _ => a != b,
    }
}
