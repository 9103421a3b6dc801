//! What llguidance's own limits leave open in JSON schemas is refused here, and what it would misread is respelled.

use serde_json::{Map, Number, Value};

use crate::error::Result;
use crate::multiples::Multiple;
use crate::numbers::{check_values, respell_bounds};
use crate::one_of::resolve_one_of;
use crate::references::{check_references, Keys};
use crate::schema_cost::check_cost;

/// Refuses a schema that would take too much time or memory. What llguidance cannot carry out, or reads otherwise than
/// it is meant, becomes what means the same.
pub fn prepare_schema(schema: &mut Value) -> Result<()> {
    check_references(schema)?;
    resolve_one_of(schema);
    change_each(schema, Keys::Keywords, &mut |schema| {
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
