//! A number literal at the start of some bytes -> what the row holds of it, several digits at a time.
//!
//! The result is that of `literal.parse::<f64>() as f32`, to the bit. Up to fifteen digits it is computed that way: digits
//! and powers of ten are exact in f64, and one division rounds once. Up to eighteen digits the quotient is within a few
//! units of the last place of the right f64; it is used where that cannot change the f32. Whatever is left goes to the
//! standard library.

use std::hint::select_unpredictable;

use super::value::looks_like_number;

/// Exact in f64.
const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];
/// What up to seven digits are multiplied with: faster than to divide, and the same f32. The product is within 2^-52 of the
/// quotient. No such quotient is halfway between two f32 (it would need 25 bits), nor nearer to that than 2^-49.
const INVERSES: [f64; 8] = [1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7];
/// Digits and the point that one look takes in.
const LOOK: usize = 16;
/// Digits behind those that still fit into an i64.
const MORE: usize = 3;
const TENS: [u64; MORE + 1] = [1, 10, 100, 1000];
/// The bits of an f64 that an f32 has no room for.
const LOST: u64 = (1 << 29) - 1;
/// Half of the last place of an f32, in those bits.
const HALF: u64 = 1 << 28;
/// More than the quotient of eighteen digits can be off, in units of the last place of f64.
const SLACK: u64 = 16;

/// A number at the start of some bytes.
pub(super) struct Number {
    pub value: f32,
    /// Bytes of its literal.
    pub length: usize,
    /// The byte behind it, for the caller to look at; 0 where there is none.
    pub next: u8,
}

/// The number at the start of `bytes`; `None` where there is none, or none that an f32 can hold.
#[inline(always)]
pub(super) fn number(bytes: &[u8]) -> Option<Number> {
    match short(bytes) {
        Some(number) => Some(number),
        None => number_of_any_length(bytes).map(|(value, length)| Number {
            value,
            length,
            next: bytes.get(length).copied().unwrap_or_default(),
        }),
    }
}

/// A number that ends within eight bytes, its sign not counted, and has no exponent.
///
/// Signs come in no order that a processor could guess: nothing branches on them.
#[inline(always)]
fn short(bytes: &[u8]) -> Option<Number> {
    let start: &[u8; 9] = bytes.first_chunk()?;
    let unsigned = u64::from_le_bytes(*start.first_chunk()?);
    let negative = unsigned as u8 == b'-';
    // Without its first byte; put together from what is loaded already, because what comes next waits for it.
    let signed = (unsigned >> 8) | u64::from(start[8]) << 56;
    let text = select_unpredictable(negative, signed, unsigned);
    let (values, others) = told_apart(text);
    let whole = others.trailing_zeros() / 8;
    // Whether a number begins with a zero cannot be guessed either.
    let padded = (text as u8 == b'0') & (whole > 1);
    if others == 0 || whole == 0 || padded {
        return None;
    }
    // What is behind the digits is shifted out.
    let (digits, count, last, fraction) = if (text >> (8 * whole)) as u8 == b'.' {
        let after = others & (others - 1);
        let last = after.trailing_zeros() / 8;
        if after == 0 || last == whole + 1 {
            return None;
        }
        let before = (1_u64 << (8 * whole)) - 1;
        let digits = (values & before) | ((values >> 8) & !before);
        (digits, last - 1, last, last - 1 - whole)
    } else {
        (values, whole, whole, 0)
    };
    let next = (text >> (8 * last)) as u8;
    if next != b',' && next | 0x20 == b'e' {
        return None;
    }
    let integer = eight(digits << (64 - 8 * count));
    let value = (f64::from(integer as i32) * INVERSES[fraction as usize & 7]) as f32;
    Some(Number {
        value: signed_by(value, negative),
        length: last as usize + usize::from(negative),
        next,
    })
}

/// The values of eight digits, and the highest bit of each byte that is none. A carry can only come from such a byte, so that
/// what stands before it, and the byte itself, are told right; the first two of them, where the second ends the number.
#[inline(always)]
fn told_apart(text: u64) -> (u64, u64) {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const OVER: u64 = u64::from_ne_bytes([0x76; 8]);
    let values = text ^ ZEROS;
    (values, (values.wrapping_add(OVER) | values) & HIGH)
}

/// A number that is not negative, and its sign.
#[inline(always)]
fn signed_by(value: f32, negative: bool) -> f32 {
    f32::from_bits(value.to_bits() | u32::from(negative) << 31)
}

#[inline(never)]
fn number_of_any_length(bytes: &[u8]) -> Option<(f32, usize)> {
    let negative = *bytes.first()? == b'-';
    let sign = usize::from(negative);
    let text = look(&bytes[sign..]);
    let others = not_digits(text);
    let whole = others.trailing_zeros() as usize / 8;
    // No digit, a zero before others, or many digits before the point.
    let padded = (text as u8 == b'0') & (whole > 1);
    if whole == 0 || whole >= LOOK - 1 || padded {
        return with_care(bytes);
    }
    let after = (text >> (8 * whole)) as u8;
    let (digits, end, fraction) = if after == b'.' {
        // The digits without the point; a zero byte comes in from above and is no digit.
        let before = (1_u128 << (8 * whole)) - 1;
        let digits = (text & before) | ((text >> 8) & !before);
        let ends = ((others & (others - 1)) >> 8) | (0x80 << 120);
        let end = ends.trailing_zeros() as usize / 8;
        if end == whole {
            return None;
        }
        if end == LOOK - 1 {
            return long(bytes, negative, digits, whole);
        }
        (digits, end, end - whole)
    } else {
        (text, whole, 0)
    };
    let length = end + usize::from(fraction > 0);
    if (text >> (8 * length)) as u8 | 0x20 == b'e' {
        return with_care(bytes);
    }
    let value = integer(digits, end) as i64 as f64 / POWERS[fraction];
    Some((signed_by(value as f32, negative), sign + length))
}

/// The first bytes, zeros after the last.
#[inline]
fn look(bytes: &[u8]) -> u128 {
    match bytes.first_chunk::<LOOK>() {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => {
            let mut padded = [0; LOOK];
            padded[..bytes.len()].copy_from_slice(bytes);
            u128::from_le_bytes(padded)
        }
    }
}

/// The highest bit of each byte that is no digit.
#[inline]
fn not_digits(text: u128) -> u128 {
    const ZEROS: u128 = u128::from_ne_bytes([b'0'; 16]);
    const LOW: u128 = u128::from_ne_bytes([0x7f; 16]);
    const OVER: u128 = u128::from_ne_bytes([0x76; 16]);
    let values = text ^ ZEROS;
    (((values & LOW) + OVER) | values) & !LOW
}

/// The integer of the first `count` digits, 1 to 15.
#[inline]
fn integer(digits: u128, count: usize) -> u64 {
    const LOW: u128 = u128::from_ne_bytes([0x0f; 16]);
    let digits = (digits & LOW) << (8 * (LOOK - count));
    eight(digits as u64) * 100_000_000 + eight((digits >> 64) as u64)
}

/// The integer of eight digits, the first in the lowest byte: pairs, then fours, then all.
#[inline]
fn eight(digits: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let odd = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let even = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    odd.wrapping_add(even) >> 32
}

/// A number of fifteen digits, the point after `whole` of them, that may go on.
#[inline(always)]
fn long(bytes: &[u8], negative: bool, digits: u128, whole: usize) -> Option<(f32, usize)> {
    let begin = usize::from(negative) + LOOK;
    let rest = bytes.get(begin..).unwrap_or_default();
    let (values, others) = told_apart(look(rest) as u64);
    let more = others.trailing_zeros() as usize / 8;
    if more > MORE {
        return with_care(bytes);
    }
    // The digits that are left, and nothing where there is none.
    let left = eight((values << (8 * (7 - more))) << 8);
    let value = integer(digits, LOOK - 1) * TENS[more] + left;
    let end = begin + more;
    if bytes.get(end).is_some_and(|byte| byte | 0x20 == b'e') {
        return with_care(bytes);
    }
    let quotient = value as i64 as f64 / POWERS[LOOK - 1 - whole + more];
    if (quotient.to_bits() & LOST).abs_diff(HALF) <= SLACK {
        return with_care(bytes);
    }
    Some((signed_by(quotient as f32, negative), end))
}

/// Any number, by the standard library.
#[cold]
fn with_care(bytes: &[u8]) -> Option<(f32, usize)> {
    let of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let length = bytes.iter().take_while(of_number).count();
    let literal = std::str::from_utf8(&bytes[..length]).ok()?;
    if !looks_like_number(literal) {
        return None;
    }
    let value = super::value::finite(literal)?;
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number as it is, and as the start of a longer text.
    fn check(literal: &str) {
        let expected = literal.parse::<f64>().unwrap() as f32;
        let expected = Some((expected.to_bits(), literal.len())).filter(|_| expected.is_finite());
        for tail in ["", ",", "}", " ", ", \"a\": 12345678901234567890"] {
            let text = format!("{literal}{tail}");
            let found = number(text.as_bytes());
            let found = found.map(|found| (found.value.to_bits(), found.length, found.next));
            let next = tail.bytes().next().unwrap_or_default();
            let expected = expected.map(|(bits, length)| (bits, length, next));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn edges_of_each_way_to_read_a_number() {
        for literal in [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "0.0000000000000000000000000000000000000000000001",
            "9.9999999999999",
            "99999999999999.9",
            "999999999999999",
            "9999999999999999",
            "18446744073709551615",
            "0.99999999999999999",
            "9.999999999999999999",
            "9.9999999999999999999",
            // Halfway between two f32, and as near to that as f64 can be, and nearer.
            "16777217",
            "16777217.000000002",
            "1.00000005960464477",
            "1.0000000596046448",
            "1.000000059604644775390625",
            "1.00000017881393432",
            "0.00000000000000001",
            "1e5",
            "1E-5",
            "1.5e+30",
            "12345678901234.5e-10",
            "1.23456789012345678e-3",
            "3.4028235677973366e38",
            "3.4028235677973365e38",
            "1e39",
            "1e-400",
        ] {
            check(literal);
            check(&format!("-{}", literal.trim_start_matches('-')));
        }
    }

    #[test]
    fn what_is_no_json_number_is_none() {
        for text in [
            "", "-", "-a", "a", ".5", "1.", "1.,", "01", "00.5", "-01", "1.e5", "1e", "1e+", "+1",
            "--1", "1.2.3", "1-2",
        ] {
            // The caller refuses what follows the number.
            let next = number(text.as_bytes()).map(|number| number.next);
            assert!(matches!(next, None | Some(b'.' | b'-')), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_literal_has_the_bits_of_the_standard_library(literal in prop_oneof![
            "-?(0|[1-9][0-9]{0,20})",
            "-?(0|[1-9][0-9]{0,17})\\.[0-9]{1,22}",
            "-?(0|[1-9][0-9]{0,4})\\.[0-9]{12,18}",
            "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,9})?[eE][+-]?[0-9]{1,2}",
            any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| v.to_string()),
            // Where an f32 and its successor meet.
            (1.0..1e4_f32).prop_map(|v| {
                let middle = (f64::from(v) + f64::from(v.next_up())) / 2.0;
                middle.to_string()
            }),
            (1.0..1e4_f32).prop_map(|v| {
                let middle = (f64::from(v) + f64::from(v.next_up())) / 2.0;
                format!("{:.14}", middle.next_up())
            }),
        ]) {
            check(&literal);
        }
    }
}
