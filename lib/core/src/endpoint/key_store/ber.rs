//! Converts BER to DER, as far as key stores need it. PKCS#12 is BER (RFC 7292, section 4). Bouncy Castle, for example,
//! writes indefinite lengths and octet strings in pieces (X.690, sections 8.1.3.6 and 8.7.3).
//!
//! The content of an octet string does not change, because signatures and MACs cover it.

/// The maximum nesting of values, which is deeper than any store. Each level copies its content once.
const MAX_DEPTH: usize = 24;

/// The reason why bytes are not BER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BerError {
    #[error("values are nested deeper than {MAX_DEPTH} levels")]
    Deep,
    #[error("a value does not end where the one around it does")]
    Length,
    #[error("an octet string has a piece that is not an octet string")]
    Piece,
    #[error("there are more bytes after the value")]
    Trailing,
}

const OCTETS: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
/// The octets that end a value of indefinite length.
const END: [u8; 2] = [0, 0];

/// Converts one value: each length becomes definite and as short as possible, and each octet string gets one piece.
pub(super) fn to_der(ber: &[u8]) -> Result<Vec<u8>, BerError> {
    let (mut rest, mut der) = (ber, Vec::with_capacity(ber.len()));
    value(&mut rest, MAX_DEPTH, &mut der)?;
    if rest.is_empty() { Ok(der) } else { Err(BerError::Trailing) }
}

/// Joins the pieces of an octet string. `pieces` is the DER of its content.
pub(super) fn joined(mut pieces: &[u8]) -> Result<Vec<u8>, BerError> {
    let mut joined = Vec::with_capacity(pieces.len());
    while !pieces.is_empty() {
        octets(&mut pieces, MAX_DEPTH, &mut joined)?;
    }
    Ok(joined)
}

/// A value's tag and content.
struct Value<'a> {
    tag: &'a [u8],
    /// None if the length is indefinite. The content then ends with [`END`].
    content: Option<&'a [u8]>,
}

fn value(rest: &mut &[u8], depth: usize, der: &mut Vec<u8>) -> Result<(), BerError> {
    let depth = depth.checked_sub(1).ok_or(BerError::Deep)?;
    let Value { tag, content } = header(rest)?;
    let mut inner = Vec::new();
    if tag == [OCTETS | CONSTRUCTED] {
        each(rest, content, |rest| octets(rest, depth, &mut inner))?;
        return push(&[OCTETS], &inner, der);
    }
    match content {
        Some(content) if tag[0] & CONSTRUCTED == 0 => push(tag, content, der),
        content => {
            each(rest, content, |rest| value(rest, depth, &mut inner))?;
            push(tag, &inner, der)
        }
    }
}

/// Appends the content of an octet string, with its pieces joined.
fn octets(rest: &mut &[u8], depth: usize, joined: &mut Vec<u8>) -> Result<(), BerError> {
    let depth = depth.checked_sub(1).ok_or(BerError::Deep)?;
    match header(rest)? {
        Value { tag: [OCTETS], content: Some(content) } => {
            joined.extend_from_slice(content);
            Ok(())
        }
        Value { tag, content } if tag == [OCTETS | CONSTRUCTED] => {
            each(rest, content, |rest| octets(rest, depth, joined))
        }
        Value { .. } => Err(BerError::Piece),
    }
}

/// Reads one value after another: all of `content`, or of `rest` up to its end.
fn each(
    rest: &mut &[u8],
    content: Option<&[u8]>,
    mut read: impl FnMut(&mut &[u8]) -> Result<(), BerError>,
) -> Result<(), BerError> {
    if let Some(mut content) = content {
        while !content.is_empty() {
            read(&mut content)?;
        }
        return Ok(());
    }
    while !rest.starts_with(&END) {
        read(rest)?;
    }
    *rest = &rest[END.len()..];
    Ok(())
}

/// Reads a tag, a length, and the content of that length (X.690, sections 8.1.2 and 8.1.3).
fn header<'a>(rest: &mut &'a [u8]) -> Result<Value<'a>, BerError> {
    let mut tag_bytes = 1;
    if rest.first().ok_or(BerError::Length)? & 0x1f == 0x1f {
        let more = rest[1..].iter().take(4).position(|byte| byte & 0x80 == 0).ok_or(BerError::Length)?;
        tag_bytes += more + 1;
    }
    let (tag, after) = rest.split_at_checked(tag_bytes).ok_or(BerError::Length)?;
    let (&first, after) = after.split_first().ok_or(BerError::Length)?;
    let (length, after) = match first {
        0x80 if tag[0] & CONSTRUCTED != 0 => {
            *rest = after;
            return Ok(Value { tag, content: None });
        }
        0..0x80 => (usize::from(first), after),
        _ => {
            let (digits, after) = after.split_at_checked(usize::from(first & 0x7f)).ok_or(BerError::Length)?;
            let digits = &digits[digits.iter().take_while(|digit| **digit == 0).count()..];
            if digits.is_empty() && first == 0x80 || digits.len() > 4 {
                return Err(BerError::Length);
            }
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), after)
        }
    };
    let (content, after) = after.split_at_checked(length).ok_or(BerError::Length)?;
    *rest = after;
    Ok(Value { tag, content: Some(content) })
}

fn push(tag: &[u8], content: &[u8], der: &mut Vec<u8>) -> Result<(), BerError> {
    der.extend_from_slice(tag);
    let length = u32::try_from(content.len()).map_err(|_| BerError::Length)?.to_be_bytes();
    let digits = &length[length.iter().take_while(|digit| **digit == 0).count()..];
    match digits {
        [] => der.push(0),
        [short @ 0..0x80] => der.push(*short),
        digits => {
            der.push(0x80 | u8::try_from(digits.len()).map_err(|_| BerError::Length)?);
            der.extend_from_slice(digits);
        }
    }
    der.extend_from_slice(content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// BER, its DER, and the reason.
    type Case = (&'static [u8], Result<&'static [u8], BerError>, &'static str);

    #[test]
    fn ber_is_rewritten_as_der() {
        let deep = |levels: usize| [[0x30, 0x80].repeat(levels), [0, 0].repeat(levels)].concat();
        let cases: [Case; 13] = [
            (&[0x30, 3, 2, 1, 3], Ok(&[0x30, 3, 2, 1, 3]), "DER stays"),
            (&[0x30, 0x80, 2, 1, 3, 0, 0], Ok(&[0x30, 3, 2, 1, 3]), "an indefinite length"),
            (&[0x30, 0x83, 0, 0, 3, 2, 1, 3], Ok(&[0x30, 3, 2, 1, 3]), "a length longer than it needs to be"),
            (&[0x24, 0x80, 4, 1, 1, 4, 1, 2, 0, 0], Ok(&[4, 2, 1, 2]), "an octet string in pieces"),
            (&[0x24, 7, 0x24, 2, 4, 0, 4, 1, 2], Ok(&[4, 1, 2]), "pieces in pieces"),
            (&[4, 2, 0x30, 0x80], Ok(&[4, 2, 0x30, 0x80]), "the content of an octet string stays"),
            (&[0xbf, 0x81, 0x01, 0x80, 0, 0], Ok(&[0xbf, 0x81, 0x01, 0]), "a long tag"),
            (&[0x24, 0x80, 2, 1, 1, 0, 0], Err(BerError::Piece), "a piece that is not an octet string"),
            (&[0x30, 0x80, 2, 1, 3], Err(BerError::Length), "no end"),
            (&[0x04, 0x80, 0, 0], Err(BerError::Length), "an indefinite length of bytes"),
            (&[0x30, 0xff], Err(BerError::Length), "a length that is reserved"),
            (&[0x30, 0, 0], Err(BerError::Trailing), "more bytes after it"),
            (&[], Err(BerError::Length), "nothing"),
        ];
        for (ber, expected, why) in cases {
            assert_eq!(to_der(ber).as_deref().map_err(|error| *error), expected, "{why}");
        }
        assert!(to_der(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(to_der(&deep(MAX_DEPTH + 1)), Err(BerError::Deep));
        assert_eq!(to_der(&deep(500_000)), Err(BerError::Deep), "the stack does not overflow");
    }

    proptest! {
        #[test]
        fn der_does_not_change_again(ber in prop::collection::vec(prop_oneof![Just(0x30), Just(0x80), Just(0x24), 0..8_u8, any::<u8>()], 0..40)) {
            if let Ok(der) = to_der(&ber) {
                prop_assert!(der.len() <= 3 * ber.len());
                prop_assert_eq!(to_der(&der), Ok(der));
            }
        }
    }
}
