//! How much a regular expression adds to the cost of its intersection with others.

use llguidance::regex_to_lark;
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use regex_syntax::ParserBuilder;

/// Compiling an expression costs as much as one more way per so many bytes.
const BYTES_PER_WAY: f64 = 8.0;

/// In how many ways an expression can go on at most, whatever was read and whichever character comes next; a little
/// more for a long one. llguidance goes on with an intersection in all combinations of the ways of its parts, as many
/// as the product of their widths, each of which takes some microseconds and hundreds of bytes.
pub fn width(regex: &str) -> f64 {
    parse(regex).map_or(1.0, |hir| width_of(&hir, regex))
}

/// As `pattern` of a JSON schema has it: found anywhere in the text, unless it says where it begins and ends.
pub fn search_width(pattern: &str) -> f64 {
    let regex = regex_to_lark(pattern, "dw");
    parse(&regex).map_or(1.0, |hir| {
        let begins = hir.properties().look_set_prefix().contains(Look::Start);
        let ends = hir.properties().look_set_suffix().contains(Look::End);
        width_of(&hir, &regex) + f64::from(u8::from(!begins) + u8::from(!ends))
    })
}

/// What cannot be parsed is for llguidance to refuse.
fn parse(regex: &str) -> Option<Hir> {
    ParserBuilder::new().build().parse(regex).ok()
}

fn width_of(hir: &Hir, regex: &str) -> f64 {
    let mut ranges = Vec::new();
    collect(hir, &mut ranges);
    max_overlap(&ranges).max(1.0) + regex.len() as f64 / BYTES_PER_WAY
}

/// The characters of each place in the expression, as ranges of code points or bytes.
fn collect(hir: &Hir, ranges: &mut Vec<(u32, u32)>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => ranges.extend(text.chars().map(|c| (u32::from(c), u32::from(c)))),
            Err(_) => ranges.extend(literal.0.iter().map(|b| (u32::from(*b), u32::from(*b)))),
        },
        HirKind::Class(Class::Unicode(class)) => {
            ranges.extend(class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))));
        }
        HirKind::Class(Class::Bytes(class)) => {
            ranges.extend(class.iter().map(|r| (u32::from(r.start()), u32::from(r.end()))));
        }
        HirKind::Repetition(repetition) => collect(&repetition.sub, ranges),
        HirKind::Capture(capture) => collect(&capture.sub, ranges),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| collect(part, ranges));
        }
    }
}

fn max_overlap(ranges: &[(u32, u32)]) -> f64 {
    let mut borders: Vec<(u32, i32)> =
        ranges.iter().flat_map(|(start, end)| [(*start, 1), (end + 1, -1)]).collect();
    borders.sort_unstable();
    let mut depth = 0;
    let mut most = 0;
    for (_, step) in borders {
        depth += step;
        most = most.max(depth);
    }
    f64::from(most)
}
