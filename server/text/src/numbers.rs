//! Numbers of JSON schemas that llguidance reads otherwise than they are written: it has them all as floating-point
//! numbers, integers in 64 bits after that, and compares with a number's decimal digits.

use serde_json::{Map, Value};

use crate::error::{Result, TextError};

/// From here on not every integer is a floating-point number.
const FIRST_INEXACT: i128 = 1 << 53;
/// The largest floating-point number of which llguidance makes an integer in 64 bits. At -2^63 it recurses without end.
const LARGEST: i64 = i64::MAX - 1023;

/// Refuses what a `const` or `enum` cannot stand for.
pub fn check_values(schema: &Map<String, Value>) -> Result<()> {
    ["const", "enum"].iter().filter_map(|keyword| schema.get(*keyword)).try_for_each(check_exact)
}

fn check_exact(data: &Value) -> Result<()> {
    match data {
        Value::Array(items) => items.iter().try_for_each(check_exact),
        Value::Object(members) => members.values().try_for_each(check_exact),
        Value::Number(number) => {
            let is_exact = match integer_of(data) {
                Some(integer) => {
                    integer.abs() <= i128::from(LARGEST) && integer as f64 as i128 == integer
                }
                None => true,
            };
            is_exact.then_some(()).ok_or_else(|| {
                TextError::invalid(format!(
                    "const and enum: {number} is no number that a guide can tell from its neighbours; from {FIRST_INEXACT} \
                     on not every integer is: give ids as strings"
                ))
            })
        }
        _ => Ok(()),
    }
}

/// What is an integer for its size. All but the largest are exact; those are far beyond what is carried.
fn integer_of(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    let integer = match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => i128::from(integer),
        (None, Some(integer)) => i128::from(integer),
        (None, None) => (number.as_f64()? as i128).clamp(-(1 << 100), 1 << 100),
    };
    (integer.abs() >= FIRST_INEXACT).then_some(integer)
}
