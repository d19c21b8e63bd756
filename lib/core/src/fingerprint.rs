//! Fingerprints: hashes that identify a thing of several parts.

use aws_lc_rs::digest::{Context, SHA256};

/// Returns the SHA-256 hash over all `parts`. The length precedes each part, so that different splits of a text have
/// different hashes.
#[must_use]
pub fn fingerprint<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> [u8; 32] {
    let mut content = Context::new(&SHA256);
    for part in parts {
        let part = part.as_ref();
        content.update(&(part.len() as u64).to_be_bytes());
        content.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(content.finish().as_ref());
    hash
}

/// Writes bytes as hexadecimal digits: two lower-case digits for each byte.
#[must_use]
pub fn hexadecimal(bytes: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_has_a_fingerprint_of_its_own() {
        let splits = [vec!["ab", "c"], vec!["a", "bc"], vec!["abc"], vec!["abc", ""], vec![]];
        let prints: std::collections::HashSet<_> = splits.into_iter().map(fingerprint).collect();
        assert_eq!(prints.len(), 5);
        // Python: hashlib.sha256(struct.pack(">Q", 1) + b"a").hexdigest()
        assert_eq!(fingerprint(["a"])[..4], [0x3b, 0x19, 0x6f, 0xd4]);
    }

    #[test]
    fn bytes_are_written_as_two_digits_each() {
        assert_eq!(hexadecimal([0x00, 0x0f, 0xa9, 0xff]), "000fa9ff");
        // The test vectors of RFC 4648, section 10, in lower case.
        assert_eq!(hexadecimal("foobar"), "666f6f626172");
        assert_eq!(hexadecimal(""), "");
    }
}
