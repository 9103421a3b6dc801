//! What it takes to read a regular expression, which llguidance does without a bound.

use std::convert::Infallible;

use regex_syntax::ast::{
    self, Ast, ClassSet, ClassSetBinaryOp, ClassSetItem, Flag, FlagsItemKind, RepetitionKind,
    RepetitionRange, Visitor,
};

/// In units of the cost of a schema. A class of Unicode has hundreds of ranges.
const UNITS_PER_UNICODE_CLASS: f64 = 20.0;
/// Where case does not matter, each character of a class is looked up, and a class may have all that there are.
const UNITS_PER_FOLDED_CLASS: f64 = 5500.0;
const CODE_POINTS_PER_UNIT: f64 = 200.0;
const LITERALS_PER_UNIT: f64 = 10.0;
/// Each range of a class is put into its list by going over all that are there.
const RANGE_PAIRS_PER_UNIT: f64 = 5000.0;
/// What may be left out lets what comes after it begin earlier, in combination with all others.
const OPTIONAL_PAIRS_PER_UNIT: f64 = 125.0;

/// `ignores_case`: whether it does so from the outside.
pub fn effort(ast: &Ast, ignores_case: bool) -> f64 {
    let mut folding = Folding(ignores_case);
    let Ok(()) = ast::visit(ast, &mut folding);
    let mut effort = Effort { folds: folding.0, units: 0.0, num_optional: 0.0 };
    let Ok(()) = ast::visit(ast, &mut effort);
    effort.units + effort.num_optional * effort.num_optional / OPTIONAL_PAIRS_PER_UNIT
}

/// Whether any part ignores case.
struct Folding(bool);

impl Folding {
    fn see(&mut self, flags: &ast::Flags) {
        let ignore_case = FlagsItemKind::Flag(Flag::CaseInsensitive);
        self.0 |= flags.items.iter().any(|item| item.kind == ignore_case);
    }
}

impl Visitor for &mut Folding {
    type Output = ();
    type Err = Infallible;

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }

    fn visit_pre(&mut self, part: &Ast) -> Result<(), Infallible> {
        match part {
            Ast::Flags(set) => self.see(&set.flags),
            Ast::Group(group) => {
                if let Some(flags) = group.flags() {
                    self.see(flags);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

struct Effort {
    folds: bool,
    units: f64,
    num_optional: f64,
}

impl Effort {
    fn class_units(&self) -> f64 {
        if self.folds {
            UNITS_PER_FOLDED_CLASS
        } else {
            UNITS_PER_UNICODE_CLASS
        }
    }
}

impl Visitor for &mut Effort {
    type Output = ();
    type Err = Infallible;

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }

    fn visit_pre(&mut self, part: &Ast) -> Result<(), Infallible> {
        if let Ast::Repetition(repetition) = part {
            let least = match &repetition.op.kind {
                RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore => 0,
                RepetitionKind::OneOrMore => 1,
                RepetitionKind::Range(RepetitionRange::Exactly(n))
                | RepetitionKind::Range(RepetitionRange::AtLeast(n))
                | RepetitionKind::Range(RepetitionRange::Bounded(n, _)) => *n,
            };
            self.num_optional += f64::from(u8::from(least == 0));
        }
        self.units += match part {
            Ast::Literal(_) if !self.folds => 1.0 / LITERALS_PER_UNIT,
            Ast::ClassUnicode(_) => self.class_units(),
            Ast::ClassPerl(_) => UNITS_PER_UNICODE_CLASS,
            Ast::ClassBracketed(class) => match &class.kind {
                ClassSet::BinaryOp(_) => self.class_units(),
                ClassSet::Item(_) => 1.0,
            },
            _ => 1.0,
        };
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Infallible> {
        self.units += match item {
            ClassSetItem::Range(range) if self.folds => {
                let num_code_points = u32::from(range.end.c).saturating_sub(range.start.c.into());
                f64::from(num_code_points) / CODE_POINTS_PER_UNIT
            }
            ClassSetItem::Union(union) => {
                (union.items.len() as f64).powi(2) / RANGE_PAIRS_PER_UNIT
            }
            ClassSetItem::Unicode(_) | ClassSetItem::Perl(_) | ClassSetItem::Bracketed(_) => {
                self.class_units()
            }
            ClassSetItem::Ascii(class) if class.negated => self.class_units(),
            _ => 1.0 / LITERALS_PER_UNIT,
        };
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), Infallible> {
        self.units += self.class_units();
        Ok(())
    }
}
