//! How much a regular expression adds to the cost of its intersection with others.

use std::collections::BTreeMap;

use llguidance::regex_to_lark;
use regex_syntax::ast::parse::Parser;
use regex_syntax::hir::translate::Translator;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::error::{Result, TextError};
use crate::place::MAX_COST;
use crate::regex_effort::effort;

/// Compiling an expression costs as much as one more way per so many bytes.
const BYTES_PER_WAY: f64 = 8.0;

/// What is known of an expression. What cannot be parsed is for llguidance to refuse.
pub struct Pattern {
    /// In how many ways it can go on at most, whatever was read and whichever character comes next; a little more for
    /// a long one. llguidance goes on with an intersection in all combinations of the ways of its parts, as many as the
    /// product of their widths, each of which takes some microseconds and hundreds of bytes.
    pub width: f64,
    /// What reading it costs, in units of the cost of a schema.
    pub effort: f64,
}

/// `ignores_case`: whether a flag behind it says so. Refuses what takes more than `MAX_COST` to read.
pub fn pattern(regex: &str, ignores_case: bool) -> Result<Pattern> {
    let (hir, effort) = parse(regex, ignores_case)?;
    Ok(Pattern { width: hir.map_or(1.0, |hir| width_of(&hir, regex)), effort })
}

/// As `pattern` of a JSON schema has it: found anywhere in the text, unless it says where it begins and ends.
pub fn search_pattern(text: &str) -> Result<Pattern> {
    let regex = regex_to_lark(text, "dw");
    let (hir, effort) = parse(&regex, false)?;
    let width = hir.map_or(1.0, |hir| {
        let begins = hir.properties().look_set_prefix().contains(Look::Start);
        let ends = hir.properties().look_set_suffix().contains(Look::End);
        width_of(&hir, &regex) + f64::from(u8::from(!begins) + u8::from(!ends))
    });
    Ok(Pattern { width, effort })
}

fn parse(regex: &str, ignores_case: bool) -> Result<(Option<Hir>, f64)> {
    let Ok(ast) = Parser::new().parse(regex) else { return Ok((None, 0.0)) };
    let effort = effort(&ast, ignores_case);
    if effort > MAX_COST {
        return Err(TextError::invalid(format!(
            "a regular expression takes about {effort:.0} units of work to read; at most {MAX_COST} are allowed: use fewer \
             classes as \\pL and \\w are, most of all where case does not matter, fewer optional parts, or a shorter expression"
        )));
    }
    Ok((Translator::new().translate(regex, &ast).ok(), effort))
}

fn width_of(hir: &Hir, regex: &str) -> f64 {
    let mut borders = BTreeMap::new();
    collect(hir, &mut borders);
    max_overlap(&borders).max(1.0) + regex.len() as f64 / BYTES_PER_WAY
}

/// How many more of the expression's places take a character from here on than before it, by code point or byte.
type Borders = BTreeMap<u32, i64>;

fn collect(hir: &Hir, borders: &mut Borders) {
    let mut add = |start: u32, end: u32| {
        *borders.entry(start).or_default() += 1;
        *borders.entry(end + 1).or_default() -= 1;
    };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => text.chars().for_each(|c| add(u32::from(c), u32::from(c))),
            Err(_) => literal.0.iter().for_each(|b| add(u32::from(*b), u32::from(*b))),
        },
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().for_each(|r| add(u32::from(r.start()), u32::from(r.end())));
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().for_each(|r| add(u32::from(r.start()), u32::from(r.end())));
        }
        HirKind::Repetition(repetition) => collect(&repetition.sub, borders),
        HirKind::Capture(capture) => collect(&capture.sub, borders),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| collect(part, borders));
        }
    }
}

fn max_overlap(borders: &Borders) -> f64 {
    let mut depth = 0;
    let mut most = 0;
    for step in borders.values() {
        depth += step;
        most = most.max(depth);
    }
    most as f64
}
