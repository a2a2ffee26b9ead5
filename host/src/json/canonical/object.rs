//! Puts the fields of an object into JavaScript's order.

use std::collections::HashMap;
use std::ops::Range;

/// One field in the output, `"key":value` without commas. All members are offsets into the output.
#[derive(Debug, Clone, Copy)]
pub struct CanonicalField {
    pub start: usize,
    /// One past the key's closing quote.
    pub key_end: usize,
    pub end: usize,
}

/// Rewrites the last object of `out`, which has these fields and no closing brace yet, in
/// JavaScript's order.
pub fn order(fields: &[CanonicalField], out: &mut Vec<u8>) {
    if !has_index(fields, out) && !has_duplicates(fields, out) {
        return;
    }
    let ordered = rewritten(fields, out);
    out.truncate(fields.first().map_or(out.len(), |field| field.start));
    out.extend_from_slice(&ordered);
}

/// Whether any key may be an array index. Only the first character is examined.
fn has_index(fields: &[CanonicalField], out: &[u8]) -> bool {
    fields.iter().any(|field| out.get(field.start + 1).is_some_and(u8::is_ascii_digit))
}

fn has_duplicates(fields: &[CanonicalField], out: &[u8]) -> bool {
    if !may_repeat(fields, out) {
        return false;
    }
    let key = |field: &CanonicalField| bytes(out, field.start..field.key_end);
    let mut keys: Vec<&[u8]> = fields.iter().map(key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

/// Whether two keys share one of 1,024 marks. Equal keys always do. Different keys do by chance in
/// about one of ten objects with 15 fields.
fn may_repeat(fields: &[CanonicalField], out: &[u8]) -> bool {
    let mut marks = [0_u64; 16];
    fields.iter().any(|field| {
        let length = u64::try_from(field.key_end - field.start).unwrap_or_default();
        // Multiplying by the fractional part of the golden ratio spreads the marks well (Knuth, The
        // Art of Computer Programming, 6.4).
        let mark = (beginning_of(field, out) ^ length).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let bit = 1 << (mark % 64);
        let word = usize::try_from(mark / 64).ok().and_then(|word| marks.get_mut(word));
        word.is_none_or(|bits| {
            let repeated = *bits & bit != 0;
            *bits |= bit;
            repeated
        })
    })
}

/// Returns the first eight bytes of a key, or the whole key if it is shorter. They already
/// distinguish most keys.
fn beginning_of(field: &CanonicalField, out: &[u8]) -> u64 {
    let from = field.start + 1;
    let length = (field.key_end - from).saturating_sub(1).min(8);
    let bytes = out.get(from..).unwrap_or_default();
    match bytes.first_chunk() {
        Some(eight) if length == 8 => u64::from_le_bytes(*eight),
        // Masks out the bytes after the key.
        Some(eight) => u64::from_le_bytes(*eight) & ((1 << (8 * length)) - 1),
        None => bytes.iter().take(length).rev().fold(0, |all, &byte| all << 8 | u64::from(byte)),
    }
}

fn rewritten(fields: &[CanonicalField], out: &[u8]) -> Vec<u8> {
    let mut slots: Vec<CanonicalField> = Vec::with_capacity(fields.len());
    let mut by_key: HashMap<&[u8], usize> = HashMap::with_capacity(fields.len());
    for &field in fields {
        let slot = *by_key.entry(bytes(out, field.start..field.key_end)).or_insert(slots.len());
        match slots.get_mut(slot) {
            Some(place) => *place = field,
            None => slots.push(field),
        }
    }
    // The sort is stable: keys that are not array indices keep their order after the indices.
    slots.sort_by_key(|slot| {
        array_index(bytes(out, slot.start..slot.key_end)).map_or(u64::MAX, u64::from)
    });
    let texts: Vec<&[u8]> = slots.iter().map(|slot| bytes(out, slot.start..slot.end)).collect();
    texts.join(&b',')
}

/// Returns the array index that a key (with its quotes) is in JavaScript: a canonical decimal
/// number below 2^32 - 1 (ECMA-262, 6.1.7).
fn array_index(key: &[u8]) -> Option<u32> {
    let digits = key.get(1..key.len().checked_sub(1)?)?;
    let canonical = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() < 10 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    let index: u32 = str::from_utf8(digits).ok()?.parse().ok()?;
    (index < u32::MAX).then_some(index)
}

fn bytes(out: &[u8], range: Range<usize>) -> &[u8] {
    out.get(range).unwrap_or_default()
}
