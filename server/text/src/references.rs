//! Where a JSON schema's `$ref` leads, and how deep llguidance follows them.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::error::{Result, TextError};

/// Of all schemas that are referred to, one within the other: llguidance may have them all on its stack at once.
const MAX_LEVELS: usize = 10_000;
/// Whose values are data, whatever they look like.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Whose values have schemas by name.
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// What the members of an object are: `names` where it has schemas by name, and not what a schema has by keyword.
#[derive(Clone, Copy, PartialEq)]
pub enum Keys {
    Keywords,
    Names,
}

impl Keys {
    /// What the members within the member `key` are; none: it is data.
    pub fn within(self, key: &str) -> Option<Keys> {
        match self {
            Keys::Names => Some(Keys::Keywords),
            Keys::Keywords if DATA.contains(&key) => None,
            Keys::Keywords if BY_NAME.contains(&key) => Some(Keys::Names),
            Keys::Keywords => Some(Keys::Keywords),
        }
    }
}

/// A reference has to point into the document by its place there, where a schema is: nothing else shows what meets what,
/// and data is not looked at. Absent where there is nothing at that place, which llguidance refuses.
pub fn target_of<'a>(document: &'a Value, reference: &str) -> Result<Option<&'a Value>> {
    let own_name = document.get("$id").and_then(Value::as_str).unwrap_or_default();
    let local = reference.strip_prefix(own_name.trim_end_matches('#')).unwrap_or(reference);
    let pointer = local.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(pointer) = pointer else {
        return Err(TextError::invalid(format!(
            "$ref is {reference:?}; it must be \"#\" or begin with \"#/\", as \"#/$defs/name\" does: copy what it means into \
             the schema"
        )));
    };
    let pointer = percent_decoded(pointer);
    if !leads_to_schema(&pointer) {
        return Err(TextError::invalid(format!(
            "$ref is {reference:?}, where names or data are and no schema: copy what it means to a name of its own in $defs"
        )));
    }
    Ok(document.pointer(&pointer))
}

/// By the names on the way.
fn leads_to_schema(pointer: &str) -> bool {
    let mut names = pointer.split('/').skip(1);
    names.try_fold(Keys::Keywords, |keys, name| keys.within(name)) == Some(Keys::Keywords)
}

/// Refuses what would take llguidance too deep, and names within the document, from which references would start.
pub fn check_references(document: &Value) -> Result<()> {
    let mut targets = BTreeSet::new();
    let mut has_names = false;
    let dialect = document.get("$schema").and_then(Value::as_str).unwrap_or_default();
    let id = if dialect.contains("draft-04") { "id" } else { "$id" };
    visit(document, Keys::Keywords, &mut |key, value| {
        match value.as_str() {
            Some(reference) if key == "$ref" => drop(targets.insert(reference.to_string())),
            Some(name) if key == id => {
                has_names |= !name.starts_with('#') && document.get(key) != Some(value);
            }
            _ => {}
        };
    });
    if has_names && !targets.is_empty() {
        return Err(TextError::invalid(
            "$id: a schema with $ref may have one at its root alone: leave the others out",
        ));
    }
    let mut levels = num_levels(document);
    let mut known = HashMap::new();
    for reference in &targets {
        let Some(target) = target_of(document, reference)? else { continue };
        let address: *const Value = target;
        levels += *known.entry(address).or_insert_with(|| num_levels(target));
    }
    if levels > MAX_LEVELS {
        return Err(TextError::invalid(format!(
            "$ref: the {} schemas that are referred to are {levels} levels deep, one within the other; at most {MAX_LEVELS} \
             are allowed: use fewer",
            targets.len()
        )));
    }
    Ok(())
}

/// Whether a reference leads to a property or a pattern of them, or into one.
pub fn refers_to_members(document: &Value) -> bool {
    let mut found = false;
    visit(document, Keys::Keywords, &mut |key, value| {
        found |= key == "$ref" && value.as_str().is_some_and(|to| to.contains("roperties"));
    });
    found
}

/// Calls `seen` for each keyword of each schema.
fn visit<'a>(part: &'a Value, keys: Keys, seen: &mut impl FnMut(&'a str, &'a Value)) {
    match part {
        Value::Array(items) => items.iter().for_each(|item| visit(item, Keys::Keywords, seen)),
        Value::Object(members) => {
            for (key, value) in members {
                let Some(within) = keys.within(key) else { continue };
                if keys == Keys::Keywords {
                    seen(key, value);
                }
                visit(value, within, seen);
            }
        }
        _ => {}
    }
}

fn num_levels(part: &Value) -> usize {
    match part {
        Value::Array(items) => 1 + items.iter().map(num_levels).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(num_levels).max().unwrap_or(0),
        _ => 0,
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
