//! Numbers of JSON schemas that llguidance reads otherwise than they are written: it has them all as floating-point
//! numbers, integers in 64 bits after that, and compares with a number's decimal digits.

use serde_json::{Map, Value};

use crate::error::{Result, TextError};

/// From here on not every integer is a floating-point number.
const FIRST_INEXACT: i128 = 1 << 53;
/// The largest floating-point number of which llguidance makes an integer in 64 bits. At -2^63 it recurses without end.
const LARGEST: i64 = i64::MAX - 1023;
/// Without a bound on the other side llguidance counts up to the next power of ten.
const LARGEST_OPEN: f64 = 1e18;

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

/// Moves bounds inwards to what llguidance carries exactly, so that whatever it lets pass is within the schema's own.
/// Those of whole types (64-bit integers, floating-point numbers) lose what is next to them.
pub fn respell_bounds(schema: &mut Map<String, Value>) -> Result<()> {
    let written: Vec<String> = [LOWER.keyword, LOWER.exclusive, UPPER.keyword, UPPER.exclusive]
        .iter()
        .filter_map(|keyword| Some(format!("{keyword} {}", schema.get(*keyword)?.as_number()?)))
        .collect();
    let narrowed = [LOWER, UPPER].map(|side| side.narrow(schema));
    if narrowed.contains(&Err(())) {
        return Err(nothing_between(&written));
    }
    let [lower, upper] =
        [LOWER, UPPER].map(|side| schema.get(side.keyword).and_then(Value::as_f64));
    if narrowed.contains(&Ok(true)) && lower.zip(upper).is_some_and(|(lower, upper)| lower > upper)
    {
        return Err(nothing_between(&written));
    }
    LOWER.close_other(schema, UPPER);
    UPPER.close_other(schema, LOWER);
    Ok(())
}

#[derive(Clone, Copy)]
struct Side {
    keyword: &'static str,
    /// In draft 4 true or false, of the bound without it.
    exclusive: &'static str,
    /// What makes a greater number a narrower bound.
    sign: i64,
}

const LOWER: Side = Side { keyword: "minimum", exclusive: "exclusiveMinimum", sign: 1 };
const UPPER: Side = Side { keyword: "maximum", exclusive: "exclusiveMaximum", sign: -1 };

impl Side {
    /// Whether there was something to narrow; an error where nothing is left.
    fn narrow(self, schema: &mut Map<String, Value>) -> std::result::Result<bool, ()> {
        let (bound, exclusive) = (schema.get(self.keyword), schema.get(self.exclusive));
        let sign = i128::from(self.sign);
        let is_strict = exclusive == Some(&Value::Bool(true));
        let inclusive =
            bound.and_then(integer_of).map(|bound| sign * bound + i128::from(is_strict));
        let strict = exclusive.and_then(integer_of).map(|bound| sign * bound + 1);
        let Some(narrowest) = inclusive.max(strict) else { return Ok(false) };
        let is_integer = schema.get("type").and_then(Value::as_str) == Some("integer");
        let carried = self.sign * carried_from(narrowest, is_integer).ok_or(())?;
        let is_wider = |other: f64| other * (self.sign as f64) < (carried * self.sign) as f64;
        let is_needed = inclusive.is_some() || bound.and_then(Value::as_f64).is_none_or(is_wider);
        if strict.is_some() || is_strict {
            schema.shift_remove(self.exclusive);
        }
        if is_needed {
            schema.insert(self.keyword.to_string(), Value::from(carried));
        }
        Ok(true)
    }

    /// Bounds the other side where llguidance could not leave it open.
    fn close_other(self, schema: &mut Map<String, Value>, other: Side) {
        let bound = schema.get(self.keyword).and_then(Value::as_f64);
        let is_open = [other.keyword, other.exclusive]
            .iter()
            .all(|keyword| schema.get(*keyword).and_then(Value::as_f64).is_none());
        if is_open && bound.is_some_and(|bound| bound * self.sign as f64 >= LARGEST_OPEN) {
            schema.insert(other.keyword.to_string(), Value::from(-other.sign * LARGEST));
        }
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

/// The least number from `bound` on that llguidance carries; not only as an integer, in its shortest digits too.
fn carried_from(bound: i128, is_integer: bool) -> Option<i64> {
    let bound = bound.max(-i128::from(LARGEST));
    let mut number = bound as f64;
    if (number as i128) < bound {
        number = number.next_up();
    }
    while number <= LARGEST as f64 {
        if is_integer || number.to_string() == (number as i64).to_string() {
            return Some(number as i64);
        }
        number = number.next_up();
    }
    None
}

fn nothing_between(bounds: &[String]) -> TextError {
    TextError::invalid(format!(
        "{}: there is no number that a guide could bound so; from {FIRST_INEXACT} on, on either side of 0, it has some \
         integers for bounds, and none from 2^63 on: leave the bounds out and check the value yourself, or have it as a string",
        bounds.join(", ")
    ))
}
