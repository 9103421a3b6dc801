//! What llguidance's schema of a value takes.

use serde_json::Value;

/// Each list or object is one, and each of what it holds.
pub fn num_values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(num_values).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(num_values).sum::<usize>(),
        _ => 1,
    }
}

/// Of a keyword's value, without the schemas in it.
pub fn own_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => 8 + values.iter().map(own_bytes).sum::<usize>(),
        Value::Object(_) => 64,
        _ => 8,
    }
}
