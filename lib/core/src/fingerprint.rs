//! Fingerprints: what tells two things apart that consist of several parts.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 over all `parts`, each with its length before it, so that no two splits of a text look alike.
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
