//! What llguidance's own limits leave open in a JSON schema: what it costs to put together what several of its parts
//! say about one value.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::data_size::{num_values, own_bytes};
use crate::error::{Result, TextError};
use crate::multiples::Multiple;
use crate::pattern_width::search_pattern;
use crate::place::{common_multiples, Expressions, Place, MAX_COST, SCHEMA_BYTES};
use crate::references::target_of;

/// llguidance refuses deeper ones, and these take it half a megabyte of stack.
const MAX_DEPTH: usize = 128;
/// Between the widths of llguidance's expressions for `date` and `uri`.
const FORMAT_WIDTH: f64 = 16.0;
const FORMAT_EFFORT: f64 = 75.0;
/// Of a const or enum, within a list or an object.
const UNITS_PER_NESTED_VALUE: f64 = 3.0;
/// What else a unit pays for: states of a `multipleOf`; bytes of llguidance's schemas; what is named in a place made
/// here; triples of patternProperties.
const UNITS_PER_STATE: f64 = 3.0;
const BYTES_PER_UNIT: f64 = 1024.0;
const COPIED_NAMES_PER_UNIT: f64 = 8.0;
const KEY_PATTERN_TRIPLES_PER_UNIT: f64 = 25.0;

/// llguidance makes a schema for each type that is not excluded.
const NUM_TYPES: usize = 6;

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
    let mut estimate = Estimate {
        document,
        any: Rc::new(Place::new(SCHEMA_BYTES)),
        resolved: HashMap::new(),
        visiting: Vec::new(),
        cost: 0.0,
    };
    let root = estimate.place(document)?;
    estimate.add_up(root)
}

struct Estimate<'a> {
    document: &'a Value,
    /// Any value: where there has to be a place that says nothing.
    any: Rc<Place<'a>>,
    /// By the address of the schema: a reference can be written in many ways.
    resolved: HashMap<*const Value, Option<Rc<Place<'a>>>>,
    visiting: Vec<*const Value>,
    cost: f64,
}

/// While costs are added up. A place that is met in several others counts for each, but is looked at once.
#[derive(Default)]
struct Seen<'a> {
    places: HashMap<*const Place<'a>, f64>,
    multiples: BTreeSet<Multiple>,
    references: BTreeSet<&'a str>,
    new_references: Vec<&'a str>,
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
            let options: Result<Vec<_>> =
                items(schema, keyword).map(|part| self.place(part)).collect();
            let options = self.any_of(&options?)?;
            result = self.both(result, options, 0)?;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            result = self.both(result, Some(Rc::new(Place::of_reference(reference))), 0)?;
        }
        Ok(result)
    }

    /// What a schema's own keywords say.
    fn own(&mut self, schema: &'a Map<String, Value>) -> Result<Place<'a>> {
        let num_types = match schema.get("type") {
            Some(Value::String(_)) => 1,
            Some(Value::Array(types)) => types.len(),
            _ => NUM_TYPES,
        };
        let num_bytes = schema.iter().map(|(key, value)| key.len() + own_bytes(value)).sum::<usize>();
        let mut place = Place::new(num_types as f64 * SCHEMA_BYTES + num_bytes as f64);
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            let pattern = search_pattern(pattern)?;
            place.expressions = Expressions::of_width(pattern.width);
            place.own_units += pattern.effort;
        }
        if schema.contains_key("format") {
            place.expressions = place.expressions.and(Expressions::of_width(FORMAT_WIDTH));
            place.own_units += FORMAT_EFFORT;
        }
        let num_options = schema.get("enum").and_then(Value::as_array).map(Vec::len);
        if let Some(num_options) = num_options.or(schema.get("const").map(|_| 1)) {
            place.expressions = place.expressions.and(Expressions::of_width(num_options as f64));
            place.alternatives = num_options as f64;
        }
        for data in ["enum", "const"].iter().filter_map(|keyword| schema.get(*keyword)) {
            place.num_bytes += num_values(data) as f64 * SCHEMA_BYTES + data.to_string().len() as f64;
            let parts = data.as_array().into_iter().flatten().chain([data]);
            let num_nested = num_values(data) - parts.count();
            place.own_units += num_nested as f64 * UNITS_PER_NESTED_VALUE;
        }
        if let Some(number) = schema.get("multipleOf").and_then(Value::as_f64) {
            place.multiples.extend(Multiple::of(number)?);
        }
        self.add_children(schema, &mut place)?;
        place.num_bytes += place.parts().map(|part| part.num_bytes).sum::<f64>();
        place.grammar_units = place.total_grammar_units();
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
            let pattern = search_pattern(pattern)?;
            place.key_pattern_widths += pattern.width;
            place.own_units += pattern.effort;
            others.push(self.place(value)?);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let is_property = |name: &Value| {
            properties.zip(name.as_str()).is_some_and(|(all, name)| all.contains_key(name))
        };
        let required = items(schema, "required").filter(|name| !is_property(name));
        let others_required: Vec<&str> = required.filter_map(Value::as_str).collect();
        place.num_names = (properties.map_or(0, Map::len) + others_required.len()) as f64;
        place.counts_names =
            schema.contains_key("minProperties") || schema.contains_key("maxProperties");
        self.pay_key_patterns(place)?;
        let of_patterns = self.any_of(&others)?;
        for (name, value) in members(schema, "properties") {
            let own = self.place(value)?;
            // Where a pattern takes the name too, both hold. Where nothing does, what others say of it is copied.
            let child = self.both(own, of_patterns.clone(), 0)?;
            place.children.insert(name, child.unwrap_or_else(|| Rc::clone(&self.any)));
        }
        for keyword in ["additionalProperties", "items", "additionalItems"] {
            if let Some(value) = schema.get(keyword).filter(|value| !value.is_array()) {
                others.push(self.place(value)?);
            }
        }
        for value in items(schema, "prefixItems").chain(items(schema, "items")) {
            others.push(self.place(value)?);
        }
        place.rest = self.any_of(&others)?;
        let rest = place.rest.as_ref().unwrap_or(&self.any);
        place.children.extend(others_required.into_iter().map(|name| (name, Rc::clone(rest))));
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
        if Rc::ptr_eq(a, &self.any) || Rc::ptr_eq(b, &self.any) {
            return Ok(Some(Rc::clone(if Rc::ptr_eq(a, &self.any) { b } else { a })));
        }
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
        let mut result = Place::new(num_bytes);
        result.expressions = a.expressions.and(b.expressions);
        result.multiples = common_multiples(&a.multiples, &b.multiples)?;
        result.alternatives = a.alternatives * b.alternatives;
        result.own_units = a.own_units * b.alternatives + b.own_units * a.alternatives;
        result.num_key_patterns = a.num_key_patterns + b.num_key_patterns;
        result.key_pattern_widths = a.key_pattern_widths + b.key_pattern_widths;
        result.num_names = a.num_names + b.num_names;
        result.counts_names = a.counts_names || b.counts_names;
        self.pay_key_patterns(&result)?;
        for name in a.names(&b) {
            let child = self.both(a.within(name).cloned(), b.within(name).cloned(), depth + 1)?;
            if let Some(child) = child {
                result.put(name, child);
            }
        }
        result.grammar_units = result.total_grammar_units();
        // More than the sum where what the one says of all else meets many names of the other.
        result.num_bytes = num_bytes.max(result.parts().map(|part| part.num_bytes).sum());
        Ok(Some(Rc::new(result)))
    }

    /// One of them. By halves: putting them together one by one would go over the first ones again and again.
    fn any_of(&mut self, options: &[Option<Rc<Place<'a>>>]) -> Result<Option<Rc<Place<'a>>>> {
        match options {
            [] => Ok(None),
            [option] => Ok(option.clone()),
            _ => {
                let (left, right) = options.split_at(options.len() / 2);
                let left = self.any_of(left)?;
                let right = self.any_of(right)?;
                Ok(Some(self.either(left.as_ref(), right.as_ref())?))
            }
        }
    }

    /// Either of the two. Where both are the same or one takes any value, what is within stays shared.
    fn either(
        &mut self,
        a: Option<&Rc<Place<'a>>>,
        b: Option<&Rc<Place<'a>>>,
    ) -> Result<Rc<Place<'a>>> {
        let any = Rc::clone(&self.any);
        let (a, b) = (a.unwrap_or(&any), b.unwrap_or(&any));
        let num_copied = a.children.len() + b.children.len();
        self.pay(1.0 + num_copied as f64 / COPIED_NAMES_PER_UNIT)?;
        let mut result = a.or(b);
        if Rc::ptr_eq(a, b) || Rc::ptr_eq(b, &any) || Rc::ptr_eq(a, &any) {
            let only = if Rc::ptr_eq(a, &any) { b } else { a };
            result.references.truncate(only.references.len());
            result.children = only.children.clone();
            result.rest = only.rest.clone();
            return Ok(Rc::new(result));
        }
        for name in a.names(b) {
            let (a, b) = (a.within(name), b.within(name));
            if a.is_some() || b.is_some() {
                result.put(name, self.either(a, b)?);
            }
        }
        Ok(Rc::new(result))
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
        self.any_of(&options)
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
        let mut places: Vec<Rc<Place<'a>>> = root.into_iter().collect();
        let mut seen = Seen::default();
        let mut next = 0;
        while let Some(place) = places.get(next).cloned() {
            self.pay(place.num_bytes / BYTES_PER_UNIT + place.grammar_units)?;
            self.add_up_within(&place, &mut seen)?;
            for reference in std::mem::take(&mut seen.new_references) {
                places.extend(self.resolve(reference)?);
            }
            next += 1;
        }
        Ok(())
    }

    /// What the expressions and multiples of `place` cost, and those within; the sum for the expressions.
    fn add_up_within(&mut self, place: &Rc<Place<'a>>, seen: &mut Seen<'a>) -> Result<f64> {
        if let Some(several) = seen.places.get(&Rc::as_ptr(place)) {
            self.pay(*several)?;
            return Ok(*several);
        }
        let Expressions { several, most, .. } = place.expressions;
        self.cost += several;
        if self.cost > MAX_COST {
            return Err(too_many_expressions(most, several));
        }
        for multiple in &place.multiples {
            if seen.multiples.insert(*multiple) {
                self.pay(multiple.divisor as f64 * UNITS_PER_STATE)?;
            }
        }
        for reference in &place.references {
            if seen.references.insert(*reference) {
                seen.new_references.push(reference);
            }
        }
        let mut sum = several;
        for part in place.parts() {
            sum += self.add_up_within(part, seen)?;
        }
        seen.places.insert(Rc::as_ptr(place), sum);
        Ok(sum)
    }

    fn pay_key_patterns(&mut self, place: &Place<'a>) -> Result<()> {
        let mut units = place.num_key_patterns.powi(3) / KEY_PATTERN_TRIPLES_PER_UNIT;
        if place.num_key_patterns > 0.0 {
            units += place.own_units;
        }
        if place.num_key_patterns > 1.0 {
            units += place.key_pattern_widths.powi(2) / 2.0;
        }
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

fn too_many_expressions(most: f64, cost: f64) -> TextError {
    TextError::invalid(format!(
        "pattern: {most} of pattern, format, const and enum meet at one value, by allOf, anyOf, oneOf, $ref or beside each \
         other, and go on together in about {cost:.0} combinations; at most {MAX_COST} are allowed in a schema: write \
         fewer or narrower ones, or check some of it yourself"
    ))
}
