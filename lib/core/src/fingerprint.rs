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
}
