//! What llguidance's own limits leave open in a JSON schema: `multipleOf`, for which it makes a state for every
//! remainder, without a bound on time or memory.

use serde_json::{Deserializer, Map, Value};

use crate::error::{Result, TextError};

/// Of the number that is left when the decimal point is taken out: its states take some megabytes and a tenth of a second.
const MAX_DIVISOR: u64 = 10_000;
/// llguidance computes with powers of ten in 32 bits.
const MAX_DECIMALS: u32 = 8;

/// Beside a schema's own keywords, those whose schemas concern the same value.
const LISTS_IN_PLACE: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SCHEMAS_IN_PLACE: [&str; 4] = ["if", "then", "else", "not"];
/// Whose values are data, whatever they look like.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];

/// `divisor` / 10^`decimals`, with as few decimals as possible.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Multiple {
    divisor: u64,
    decimals: u32,
}

/// What a value has to be a multiple of, as far as one schema says it, and how many others it refers to.
struct InPlace {
    multiple: Option<Multiple>,
    num_references: usize,
}

pub fn check_schema(schema: &Value) -> Result<()> {
    check_parts(schema, schema)
}

/// The schemas that a Lark grammar has behind `%json`.
pub fn check_grammar(grammar: &str) -> Result<()> {
    for (position, keyword) in grammar.match_indices("%json") {
        let rest = &grammar[position + keyword.len()..];
        // What is no JSON is for llguidance to refuse, or is a comment.
        if let Some(Ok(schema)) = Deserializer::from_str(rest).into_iter::<Value>().next() {
            check_schema(&schema)?;
        }
    }
    Ok(())
}

fn check_parts(part: &Value, document: &Value) -> Result<()> {
    match part {
        Value::Array(items) => items.iter().try_for_each(|item| check_parts(item, document)),
        Value::Object(schema) => {
            check_in_place(schema, document)?;
            let parts = schema.iter().filter(|(key, _)| !DATA.contains(&key.as_str()));
            parts.map(|(_, value)| value).try_for_each(|value| check_parts(value, document))
        }
        _ => Ok(()),
    }
}

fn check_in_place(schema: &Map<String, Value>, document: &Value) -> Result<()> {
    let found = in_place(schema)?;
    // What a reference adds to others is not looked for: any multiple of the document may be.
    if found.num_references + usize::from(found.multiple.is_some()) > 1 {
        least_common(all_multiples(document)?)?;
    }
    Ok(())
}

fn in_place(schema: &Map<String, Value>) -> Result<InPlace> {
    let mut multiples = Vec::new();
    let mut num_references = 0;
    if let Some(number) = schema.get("multipleOf").and_then(Value::as_f64) {
        multiples.push(multiple(number)?);
    }
    num_references += usize::from(schema.contains_key("$ref"));
    let lists = LISTS_IN_PLACE.iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
    let schemas = SCHEMAS_IN_PLACE.iter().filter_map(|key| schema.get(*key));
    for part in lists.chain(schemas).filter_map(Value::as_object) {
        let found = in_place(part)?;
        multiples.extend(found.multiple);
        num_references += found.num_references;
    }
    Ok(InPlace { multiple: least_common(multiples)?, num_references })
}

fn all_multiples(part: &Value) -> Result<Vec<Multiple>> {
    let mut multiples = Vec::new();
    match part {
        Value::Array(items) => {
            for item in items {
                multiples.extend(all_multiples(item)?);
            }
        }
        Value::Object(schema) => {
            for (key, value) in schema.iter().filter(|(key, _)| !DATA.contains(&key.as_str())) {
                match value.as_f64() {
                    Some(number) if key == "multipleOf" => multiples.push(multiple(number)?),
                    _ => multiples.extend(all_multiples(value)?),
                }
            }
        }
        _ => {}
    }
    Ok(multiples)
}

fn multiple(number: f64) -> Result<Multiple> {
    let mut scaled = number;
    let mut decimals = 0;
    while scaled.fract() != 0.0 && decimals < MAX_DECIMALS {
        scaled *= 10.0;
        decimals += 1;
    }
    if scaled.fract() != 0.0 || scaled > MAX_DIVISOR as f64 {
        return Err(too_large(&number.to_string()));
    }
    Ok(Multiple { divisor: scaled as u64, decimals })
}

/// Of positive ones; nothing where there is none. llguidance itself refuses negative numbers, and takes 0.
fn least_common(multiples: Vec<Multiple>) -> Result<Option<Multiple>> {
    let mut result: Option<Multiple> = None;
    for next in multiples.into_iter().filter(|multiple| multiple.divisor > 0) {
        let Some(previous) = result else {
            result = Some(next);
            continue;
        };
        let mut decimals = previous.decimals.max(next.decimals);
        let a = u128::from(previous.divisor) * 10_u128.pow(decimals - previous.decimals);
        let b = u128::from(next.divisor) * 10_u128.pow(decimals - next.decimals);
        let mut divisor = a / greatest_common_divisor(a, b) * b;
        while decimals > 0 && divisor % 10 == 0 {
            divisor /= 10;
            decimals -= 1;
        }
        match u64::try_from(divisor) {
            Ok(divisor) if divisor <= MAX_DIVISOR => result = Some(Multiple { divisor, decimals }),
            _ => return Err(too_large(&format!("{divisor}e-{decimals}, of several at once"))),
        }
    }
    Ok(result)
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

fn too_large(what: &str) -> TextError {
    TextError::invalid(format!(
        "multipleOf is {what}; without its decimal point, of which at most {MAX_DECIMALS} digits may follow, it may be at \
         most {MAX_DIVISOR}: check the value yourself"
    ))
}
