//! What the parts of a JSON schema say about one value and those within it, as far as it costs llguidance something
//! to put them together.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::Result;
use crate::multiples::Multiple;

/// Each unit takes some microseconds and a kilobyte, so that a schema takes about a second and 200 MB at most.
pub const MAX_COST: f64 = 200_000.0;
/// What each of llguidance's schemas takes: one for each type that a value may have, and for each value of an enum.
pub const SCHEMA_BYTES: f64 = 400.0;

/// In the grammar: as much as an optional property takes.
const UNITS_PER_PLACE: f64 = 12.0;
/// Of properties, which are far more expensive where their number is bounded.
const NAME_PAIRS_PER_UNIT: f64 = 25.0;
const UNITS_PER_COUNTED_NAME_PAIR: f64 = 10.0;

/// Of a value's alternatives (of anyOf, enum) by how many expressions each has: how many have none, and the sums of
/// the costs of those with one and with several.
#[derive(Clone, Copy, Debug)]
pub struct Expressions {
    pub none: f64,
    pub one: f64,
    pub several: f64,
    /// How many meet in one alternative at most.
    pub most: f64,
}

/// Everything is an estimate from above. A place that is not there says nothing: any value is right.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub expressions: Expressions,
    pub multiples: Vec<Multiple>,
    /// How many of patternProperties, and the sum of their widths.
    pub num_key_patterns: f64,
    pub key_pattern_widths: f64,
    /// How many members are named, in properties and required, and whether the number of members is bounded.
    pub num_names: f64,
    pub counts_names: bool,
    pub alternatives: f64,
    /// What a copy takes, with all within.
    pub num_bytes: f64,
    /// What it costs in llguidance's grammar, without its names and what is within.
    pub own_units: f64,
    /// What it costs there with its names and all within.
    pub grammar_units: f64,
    pub children: BTreeMap<&'a str, Rc<Place<'a>>>,
    /// What every other value within has to be.
    pub rest: Option<Rc<Place<'a>>>,
    /// Alternatives that are looked up where others meet them, as schemas may refer to themselves.
    pub references: Vec<&'a str>,
}

impl Expressions {
    pub const NONE: Expressions = Expressions { none: 1.0, one: 0.0, several: 0.0, most: 0.0 };

    pub fn of_width(width: f64) -> Expressions {
        Expressions { none: 0.0, one: width, several: 0.0, most: 1.0 }
    }

    pub fn and(self, other: Expressions) -> Expressions {
        Expressions {
            none: self.none * other.none,
            one: self.none * other.one + self.one * other.none,
            several: self.several * (other.none + other.one + other.several)
                + other.several * (self.none + self.one)
                + self.one * other.one,
            most: self.most + other.most,
        }
    }

    pub fn or(self, other: Expressions) -> Expressions {
        Expressions {
            none: self.none + other.none,
            one: self.one + other.one,
            several: self.several + other.several,
            most: self.most.max(other.most),
        }
    }
}

impl<'a> Place<'a> {
    pub fn new(num_bytes: f64) -> Place<'a> {
        Place {
            expressions: Expressions::NONE,
            multiples: Vec::new(),
            num_key_patterns: 0.0,
            key_pattern_widths: 0.0,
            num_names: 0.0,
            counts_names: false,
            alternatives: 1.0,
            num_bytes,
            own_units: UNITS_PER_PLACE,
            grammar_units: UNITS_PER_PLACE,
            children: BTreeMap::new(),
            rest: None,
            references: Vec::new(),
        }
    }

    pub fn of_reference(reference: &'a str) -> Place<'a> {
        let mut place = Place::new(SCHEMA_BYTES + reference.len() as f64);
        place.expressions.none = 0.0;
        place.alternatives = 0.0;
        place.references.push(reference);
        place
    }

    pub fn child(&self, name: &str) -> Option<&Rc<Place<'a>>> {
        self.children.get(name).or(self.rest.as_ref())
    }

    /// Of either's children, and none for the rest.
    pub fn names(&self, other: &Place<'a>) -> Vec<Option<&'a str>> {
        let mut names: Vec<&'a str> =
            self.children.keys().chain(other.children.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(Some).chain([None]).collect()
    }

    pub fn within(&self, name: Option<&str>) -> Option<&Rc<Place<'a>>> {
        name.map_or(self.rest.as_ref(), |name| self.child(name))
    }

    /// Either of the two, but for what is within.
    pub fn or(&self, other: &Place<'a>) -> Place<'a> {
        let mut result = Place::new(self.num_bytes + other.num_bytes);
        result.own_units = self.own_units + other.own_units;
        result.grammar_units = self.grammar_units + other.grammar_units;
        result.expressions = self.expressions.or(other.expressions);
        result.multiples = [&self.multiples[..], &other.multiples].concat();
        result.multiples.sort_unstable();
        result.multiples.dedup();
        result.num_key_patterns = self.num_key_patterns.max(other.num_key_patterns);
        result.key_pattern_widths = self.key_pattern_widths.max(other.key_pattern_widths);
        result.num_names = self.num_names.max(other.num_names);
        result.counts_names = self.counts_names || other.counts_names;
        result.alternatives = self.alternatives + other.alternatives;
        result.references = [&self.references[..], &other.references].concat();
        result
    }

    pub fn parts(&self) -> impl Iterator<Item = &Rc<Place<'a>>> {
        self.children.values().chain(&self.rest)
    }

    /// From its own and those of its parts.
    pub fn total_grammar_units(&self) -> f64 {
        let pairs = self.num_names.powi(2);
        let name_units = match self.counts_names {
            true => pairs * UNITS_PER_COUNTED_NAME_PAIR,
            false => pairs / NAME_PAIRS_PER_UNIT,
        };
        let parts = self.parts().map(|part| part.grammar_units);
        self.alternatives * name_units + self.own_units + parts.sum::<f64>()
    }

    pub fn put(&mut self, name: Option<&'a str>, place: Rc<Place<'a>>) {
        match name {
            Some(name) => drop(self.children.insert(name, place)),
            None => self.rest = Some(place),
        }
    }
}

/// What holds of a value that is to be a multiple of one of either, or of one of each.
pub fn common_multiples(a: &[Multiple], b: &[Multiple]) -> Result<Vec<Multiple>> {
    let mut result = [a, b].concat();
    for x in a {
        for y in b {
            result.push(x.least_common(*y)?);
        }
    }
    result.sort_unstable();
    result.dedup();
    Ok(result)
}
