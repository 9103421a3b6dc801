//! `multipleOf`: llguidance makes a state for every remainder, without a bound on time or memory.

use crate::error::{Result, TextError};

/// Of the number that is left when the decimal point is taken out: its states take some megabytes and a tenth of a second.
const MAX_DIVISOR: u64 = 10_000;
/// llguidance computes with powers of ten in 32 bits.
const MAX_DECIMALS: u32 = 8;
/// How many floating-point numbers to either side may stand for a decimal one.
const MAX_NEIGHBOURS: u64 = 4;

/// `divisor` / 10^`decimals`, with as few decimals as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Multiple {
    pub divisor: u64,
    decimals: u32,
}

impl Multiple {
    /// Of 0 there is none: llguidance takes it for no condition. The sign does not matter there.
    pub fn of(number: f64) -> Result<Option<Multiple>> {
        let mut digits = format!("{}", number.abs());
        let decimals = digits.find('.').map_or(0, |point| {
            digits.remove(point);
            digits.len() - point
        });
        match (digits.parse::<u64>(), u32::try_from(decimals)) {
            (Ok(0), _) => Ok(None),
            (Ok(divisor), Ok(decimals)) if divisor <= MAX_DIVISOR && decimals <= MAX_DECIMALS => {
                Ok(Some(Multiple { divisor, decimals }))
            }
            _ => Err(too_large(&number.to_string())),
        }
    }

    pub fn least_common(self, other: Multiple) -> Result<Multiple> {
        let mut decimals = self.decimals.max(other.decimals);
        let a = self.divisor * 10_u64.pow(decimals - self.decimals);
        let b = other.divisor * 10_u64.pow(decimals - other.decimals);
        let mut divisor = u128::from(a / greatest_common_divisor(a, b)) * u128::from(b);
        // llguidance multiplies the two in 32 bits.
        let fits = u128::from(a) * u128::from(b) <= u128::from(u32::MAX);
        while decimals > 0 && divisor % 10 == 0 {
            divisor /= 10;
            decimals -= 1;
        }
        match u64::try_from(divisor) {
            Ok(divisor) if fits && divisor <= MAX_DIVISOR => Ok(Multiple { divisor, decimals }),
            _ => Err(too_large(&format!("{divisor}e-{decimals}, of several at once"))),
        }
    }

    /// The floating-point number that llguidance reads as this one. It multiplies by ten until nothing is left behind
    /// the point, which leads 0.07 elsewhere, but not the number before it.
    pub fn readable(self, number: f64) -> Result<f64> {
        let bits = number.abs().to_bits();
        let neighbours = (0..=MAX_NEIGHBOURS).flat_map(|step| [bits - step, bits + step]);
        neighbours.map(f64::from_bits).find(|near| self.is_read_from(*near)).ok_or_else(|| {
            TextError::invalid(format!(
                "multipleOf is {number}, with which binary numbers cannot count exactly here: count in units of the last \
                 digit, as an integer with multipleOf {}, or check the value yourself",
                self.divisor
            ))
        })
    }

    fn is_read_from(self, number: f64) -> bool {
        let mut scaled = number;
        let mut decimals = 0;
        while scaled.fract() != 0.0 && decimals <= MAX_DECIMALS {
            scaled *= 10.0;
            decimals += 1;
        }
        scaled == self.divisor as f64 * 10_f64.powi(decimals as i32 - self.decimals as i32)
            && decimals >= self.decimals
            && scaled <= f64::from(u32::MAX)
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
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
