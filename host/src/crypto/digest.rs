//! Short digests, which identify the content of a row, a long text or an occurrence.

use std::fmt;

use ring::digest::{Context, SHA256};

/// The first sixteen bytes of a SHA-256. Two different contents do not collide by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ShortDigest([u8; 16]);

impl ShortDigest {
    /// Computes the digest of all parts in order. Each part is preceded by its length, so `ab c`
    /// and `a bc` differ.
    pub fn of<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Self {
        let mut sha = Context::new(&SHA256);
        for part in parts {
            let part = part.as_ref();
            sha.update(&(part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        Self(sha.finish().as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// Returns the sixteen bytes to store.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads a digest from the sixteen bytes that were stored.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads thirty-two hexadecimal digits, as [`fmt::Display`] writes them.
    pub fn parse(text: &str) -> Option<Self> {
        let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundaries_of_parts_matter() {
        assert_ne!(ShortDigest::of(["ab", "c"]), ShortDigest::of(["a", "bc"]));
        assert_eq!(ShortDigest::of(["a"]), ShortDigest::of([b"a"]));
    }

    #[test]
    fn text_and_bytes_are_read_back() {
        let hash = ShortDigest::of(["x"]);
        assert_eq!(ShortDigest::parse(&hash.to_string()), Some(hash));
        assert_eq!(ShortDigest::from_bytes(hash.bytes()), Some(hash));
        assert_eq!(ShortDigest::parse("00"), None);
    }
}
