//! Quick looks over bytes.

/// The place of the first control character at or behind `from`: below a space, or DEL.
#[inline]
pub(super) fn control(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    const DELS: u64 = u64::from_ne_bytes([0x7f; 8]);
    let mut at = from;
    // Sixteen at a time, which the machine compares all at once: most of a head is text.
    while let Some(sixteen) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        if sixteen.iter().fold(false, |found, byte| found | byte.is_ascii_control()) {
            break;
        }
        at += 16;
    }
    // Eight at a time (the zero-byte test of "Bit Twiddling Hacks"): the lowest mark is always right, since a borrow can
    // only falsify what is above a byte that is one itself.
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let dels = word ^ DELS;
        let marks = (word.wrapping_sub(SPACES) & !word | dels.wrapping_sub(ONES) & !dels) & TOPS;
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(u8::is_ascii_control).map(|place| at + place)
}

/// What a byte may be part of.
const TOKEN: u8 = 1;
const TARGET: u8 = 2;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte: u8 = 0;
    while byte < 0x7f {
        classes[byte as usize] = match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'%' => TOKEN | TARGET,
            b'#' | b'^' | b'`' | b'|' => TOKEN,
            b'(' | b')' | b',' | b';' | b'=' | b':' | b'@' | b'/' | b'?' => TARGET,
            _ => 0,
        };
        byte += 1;
    }
    classes
}

/// Whether a byte can be in a token (RFC 9110 §5.6.2): a method or the name of a field.
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

/// Whether a byte can be in a path or a query (RFC 3986 §3.3 and §3.4).
#[inline]
pub(super) fn is_of_target(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TARGET != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    odd_input! {
        fn the_first_control_character_is_found(
            bytes in proptest::collection::vec(prop_oneof![8 => 0x20_u8..0x7f, 1 => any::<u8>()], 0..60),
            from in 0_usize..70,
        ) {
            let expected = bytes.iter().enumerate().skip(from).find(|(_, byte)| byte.is_ascii_control());
            prop_assert_eq!(control(&bytes, from), expected.map(|(place, _)| place));
        }
    }
}
