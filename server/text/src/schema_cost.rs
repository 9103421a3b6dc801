//! What llguidance's own limits leave open in a JSON schema: what it costs to put together what several of its parts
//! say about one value.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::error::{Result, TextError};
use crate::multiples::Multiple;
use crate::pattern_width::search_width;
use crate::place::{common_multiples, either, Expressions, Place};
use crate::references::target_of;

/// Each unit takes some microseconds and hundreds of bytes, so that a schema takes about a second at most.
pub const MAX_COST: f64 = 200_000.0;
/// llguidance refuses deeper ones, and these take it half a megabyte of stack.
const MAX_DEPTH: usize = 128;
/// Between the widths of llguidance's expressions for `date` and `uri`.
const FORMAT_WIDTH: f64 = 16.0;
/// What else a unit pays for: states of a `multipleOf`; bytes of copied schemas; triples of patternProperties; pairs of
/// properties, far more expensive where their number is bounded.
const UNITS_PER_STATE: f64 = 3.0;
const BYTES_PER_UNIT: f64 = 128.0;
const KEY_PATTERN_TRIPLES_PER_UNIT: f64 = 25.0;
const NAME_PAIRS_PER_UNIT: f64 = 25.0;
const UNITS_PER_COUNTED_NAME_PAIR: f64 = 10.0;

/// Keywords that say nothing about the value, or that are looked at apart.
const NO_CONDITIONS: [&str; 13] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
];

pub fn check_cost(document: &Value) -> Result<()> {
    let mut estimate =
        Estimate { document, resolved: HashMap::new(), visiting: Vec::new(), cost: 0.0 };
    let root = estimate.place(document)?;
    estimate.add_up(root)
}

struct Estimate<'a> {
    document: &'a Value,
    /// By the address of the schema: a reference can be written in many ways.
    resolved: HashMap<*const Value, Option<Rc<Place<'a>>>>,
    visiting: Vec<*const Value>,
    cost: f64,
}

impl<'a> Estimate<'a> {
    /// What `schema` says; nothing where it takes any value.
    fn place(&mut self, schema: &'a Value) -> Result<Option<Rc<Place<'a>>>> {
        let Some(schema) = schema.as_object() else { return Ok(None) };
        let mut result = None;
        if schema.keys().any(|key| !NO_CONDITIONS.contains(&key.as_str())) {
            result = Some(Rc::new(self.own(schema)?));
        }
        for part in items(schema, "allOf") {
            let part = self.place(part)?;
            result = self.both(result, part, 0)?;
        }
        for keyword in ["anyOf", "oneOf"] {
            let options = items(schema, keyword).map(|part| self.place(part));
            let options = any_of(&options.collect::<Result<Vec<_>>>()?);
            result = self.both(result, options, 0)?;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            result = self.both(result, Some(Rc::new(Place::of_reference(reference))), 0)?;
        }
        Ok(result)
    }

    /// What a schema's own keywords say.
    fn own(&mut self, schema: &'a Map<String, Value>) -> Result<Place<'a>> {
        let mut place =
            Place::new(schema.iter().map(|(key, value)| key.len() + own_bytes(value)).sum());
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            place.expressions = Expressions::of_width(search_width(pattern));
        }
        if schema.contains_key("format") {
            place.expressions = place.expressions.and(Expressions::of_width(FORMAT_WIDTH));
        }
        let num_values = schema.get("enum").and_then(Value::as_array).map(Vec::len);
        if let Some(num_values) = num_values.or(schema.get("const").map(|_| 1)) {
            place.expressions = place.expressions.and(Expressions::of_width(num_values as f64));
            place.alternatives = num_values as f64;
        }
        if let Some(number) = schema.get("multipleOf").and_then(Value::as_f64) {
            place.multiples.extend(Multiple::of(number)?);
        }
        self.add_children(schema, &mut place)?;
        let children = place.children.values().chain(&place.rest);
        place.num_bytes += children.map(|child| child.num_bytes).sum::<f64>();
        Ok(place)
    }

    fn add_children(
        &mut self,
        schema: &'a Map<String, Value>,
        place: &mut Place<'a>,
    ) -> Result<()> {
        let mut others = Vec::new();
        for (pattern, value) in members(schema, "patternProperties") {
            place.num_key_patterns += 1.0;
            place.key_pattern_widths += search_width(pattern);
            others.push(self.place(value)?);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let is_property = |name: &Value| {
            properties.zip(name.as_str()).is_some_and(|(all, name)| all.contains_key(name))
        };
        let num_others = items(schema, "required").filter(|name| !is_property(name)).count();
        place.num_names = (properties.map_or(0, Map::len) + num_others) as f64;
        place.counts_names =
            schema.contains_key("minProperties") || schema.contains_key("maxProperties");
        self.pay_names(place)?;
        let of_patterns = any_of(&others);
        for (name, value) in members(schema, "properties") {
            let own = self.place(value)?;
            // Where a pattern takes the name too, both hold.
            if let Some(child) = self.both(own, of_patterns.clone(), 0)? {
                place.children.insert(name, child);
            }
        }
        for keyword in ["additionalProperties", "items", "additionalItems"] {
            if let Some(value) = schema.get(keyword).filter(|value| !value.is_array()) {
                others.push(self.place(value)?);
            }
        }
        for value in items(schema, "prefixItems").chain(items(schema, "items")) {
            others.push(self.place(value)?);
        }
        place.rest = any_of(&others);
        Ok(())
    }

    /// What holds where both places do.
    fn both(
        &mut self,
        a: Option<Rc<Place<'a>>>,
        b: Option<Rc<Place<'a>>>,
        depth: usize,
    ) -> Result<Option<Rc<Place<'a>>>> {
        let (Some(a), Some(b)) = (&a, &b) else { return Ok(a.or(b)) };
        if depth > MAX_DEPTH {
            return Ok(Some(Rc::clone(a)));
        }
        let (Some(a), Some(b)) = (self.look_up(a, 0)?, self.look_up(b, 0)?) else {
            return Ok(None);
        };
        let num_bytes = a.num_bytes * b.alternatives + b.num_bytes * a.alternatives;
        self.pay(
            1.0 + num_bytes / BYTES_PER_UNIT + (a.multiples.len() * b.multiples.len()) as f64,
        )?;
        let mut result = Place::new(0);
        result.expressions = a.expressions.and(b.expressions);
        result.multiples = common_multiples(&a.multiples, &b.multiples)?;
        result.alternatives = a.alternatives * b.alternatives;
        result.num_bytes = num_bytes;
        result.num_key_patterns = a.num_key_patterns + b.num_key_patterns;
        result.key_pattern_widths = a.key_pattern_widths + b.key_pattern_widths;
        result.num_names = a.num_names + b.num_names;
        result.counts_names = a.counts_names || b.counts_names;
        self.pay_names(&result)?;
        for name in a.names(&b) {
            let child = self.both(a.within(name).cloned(), b.within(name).cloned(), depth + 1)?;
            if let Some(child) = child {
                result.put(name, child);
            }
        }
        Ok(Some(Rc::new(result)))
    }

    /// `place` with what it refers to.
    fn look_up(&mut self, place: &Rc<Place<'a>>, depth: usize) -> Result<Option<Rc<Place<'a>>>> {
        if place.references.is_empty() {
            return Ok(Some(Rc::clone(place)));
        }
        let mut own = Place::clone(place);
        own.references.clear();
        let mut options = Vec::new();
        if own.alternatives > 0.0 {
            options.push(Some(Rc::new(own)));
        }
        for reference in &place.references {
            self.pay(1.0)?;
            let target = self.resolve(reference)?;
            options.push(match target {
                Some(target) if depth < MAX_DEPTH => self.look_up(&target, depth + 1)?,
                target => target,
            });
        }
        Ok(any_of(&options))
    }

    /// llguidance refuses what is not there, and what refers to itself where others meet it.
    fn resolve(&mut self, reference: &'a str) -> Result<Option<Rc<Place<'a>>>> {
        let Some(target) = target_of(self.document, reference)? else { return Ok(None) };
        let address: *const Value = target;
        if let Some(known) = self.resolved.get(&address) {
            return Ok(known.clone());
        }
        if self.visiting.contains(&address) {
            return Ok(None);
        }
        self.visiting.push(address);
        let place = self.place(target)?;
        self.visiting.pop();
        self.resolved.insert(address, place.clone());
        Ok(place)
    }

    /// The cost of all places and of those that they refer to.
    fn add_up(&mut self, root: Option<Rc<Place<'a>>>) -> Result<()> {
        let mut waiting: Vec<Rc<Place<'a>>> = root.into_iter().collect();
        let mut references = BTreeSet::new();
        let mut multiples = BTreeSet::new();
        while let Some(place) = waiting.pop() {
            let Expressions { several, most, .. } = place.expressions;
            self.cost += 1.0 / BYTES_PER_UNIT + several;
            if self.cost > MAX_COST && several > 0.0 {
                return Err(too_many_expressions(most, several));
            }
            for multiple in place.multiples.iter().filter(|multiple| multiples.insert(**multiple)) {
                self.pay(multiple.divisor as f64 * UNITS_PER_STATE)?;
            }
            self.pay(0.0)?;
            waiting.extend(place.children.values().chain(&place.rest).cloned());
            for reference in
                place.references.iter().filter(|reference| references.insert(**reference))
            {
                waiting.extend(self.resolve(reference)?);
            }
        }
        Ok(())
    }

    fn pay_names(&mut self, place: &Place<'a>) -> Result<()> {
        let mut units = place.num_key_patterns.powi(3) / KEY_PATTERN_TRIPLES_PER_UNIT;
        if place.num_key_patterns > 1.0 {
            units += place.key_pattern_widths.powi(2) / 2.0;
        }
        let pairs = place.num_names.powi(2);
        units += match place.counts_names {
            true => pairs * UNITS_PER_COUNTED_NAME_PAIR,
            false => pairs / NAME_PAIRS_PER_UNIT,
        };
        self.pay(place.alternatives * units)
    }

    fn pay(&mut self, units: f64) -> Result<()> {
        self.cost += units;
        if self.cost > MAX_COST {
            return Err(TextError::invalid(format!(
                "is too complex: properties (most of all with minProperties or maxProperties), patternProperties, \
                 multipleOf, and what allOf, anyOf, oneOf and $ref put together take more than {MAX_COST} units of work; \
                 use fewer of these, or check some of it yourself"
            )));
        }
        Ok(())
    }
}

/// One of them. By halves: putting them together one by one would go over the first ones again and again.
fn any_of<'a>(options: &[Option<Rc<Place<'a>>>]) -> Option<Rc<Place<'a>>> {
    match options {
        [] => None,
        [option] => option.clone(),
        _ => {
            let (left, right) = options.split_at(options.len() / 2);
            Some(either(any_of(left).as_ref(), any_of(right).as_ref()))
        }
    }
}

fn items<'a>(schema: &'a Map<String, Value>, keyword: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

fn members<'a>(
    schema: &'a Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let members = schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
    members.map(|(key, value)| (key.as_str(), value))
}

/// Of a keyword's value, without the schemas in it.
fn own_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => 8 + values.iter().map(own_bytes).sum::<usize>(),
        Value::Object(_) => 64,
        _ => 8,
    }
}

fn too_many_expressions(most: f64, cost: f64) -> TextError {
    TextError::invalid(format!(
        "pattern: {most} of pattern, format, const and enum meet at one value, by allOf, anyOf, oneOf, $ref or beside each \
         other, and go on together in about {cost:.0} combinations; at most {MAX_COST} are allowed in a schema: write \
         fewer or narrower ones, or check some of it yourself"
    ))
}
