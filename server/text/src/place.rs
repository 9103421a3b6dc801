//! What the parts of a JSON schema say about one value and those within it, as far as it costs llguidance something
//! to put them together.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::Result;
use crate::multiples::Multiple;

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
    /// Of the schema's text: what a copy costs.
    pub num_bytes: f64,
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
    pub fn new(num_bytes: usize) -> Place<'a> {
        Place {
            expressions: Expressions::NONE,
            multiples: Vec::new(),
            num_key_patterns: 0.0,
            key_pattern_widths: 0.0,
            num_names: 0.0,
            counts_names: false,
            alternatives: 1.0,
            num_bytes: num_bytes as f64,
            children: BTreeMap::new(),
            rest: None,
            references: Vec::new(),
        }
    }

    pub fn of_reference(reference: &'a str) -> Place<'a> {
        let mut place = Place::new(reference.len());
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

    pub fn put(&mut self, name: Option<&'a str>, place: Rc<Place<'a>>) {
        match name {
            Some(name) => drop(self.children.insert(name, place)),
            None => self.rest = Some(place),
        }
    }
}

/// Either of the two.
pub fn either<'a>(a: Option<&Rc<Place<'a>>>, b: Option<&Rc<Place<'a>>>) -> Rc<Place<'a>> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (Some(place), None) | (None, Some(place)) => {
            let mut result = Place::clone(place);
            result.alternatives += 1.0;
            result.expressions.none += 1.0;
            return Rc::new(result);
        }
        (None, None) => return Rc::new(Place::new(0)),
    };
    let mut result = Place::new(0);
    result.expressions = a.expressions.or(b.expressions);
    result.multiples = a.multiples.iter().chain(&b.multiples).copied().collect();
    result.num_key_patterns = a.num_key_patterns.max(b.num_key_patterns);
    result.key_pattern_widths = a.key_pattern_widths.max(b.key_pattern_widths);
    result.num_names = a.num_names.max(b.num_names);
    result.counts_names = a.counts_names || b.counts_names;
    result.alternatives = a.alternatives + b.alternatives;
    result.num_bytes = a.num_bytes + b.num_bytes;
    result.references = a.references.iter().chain(&b.references).copied().collect();
    for name in a.names(b) {
        let (a, b) = (a.within(name), b.within(name));
        if a.is_some() || b.is_some() {
            result.put(name, either(a, b));
        }
    }
    result.multiples.sort_unstable();
    result.multiples.dedup();
    Rc::new(result)
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
