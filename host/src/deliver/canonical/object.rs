//! The order of an object's fields in JavaScript.

use std::collections::HashMap;
use std::ops::Range;

/// One field as it stands in the output: `"key":value` without the commas around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) start: usize,
    /// One past the key's closing quote.
    pub(super) key_end: usize,
    pub(super) end: usize,
}

/// Objects up to this size are searched for duplicate keys pair by pair, which allocates nothing.
const SMALL: usize = 16;

/// Rewrites the object whose fields stand at the end of `out` (its brace not yet closed) in the order JavaScript gives them.
pub(super) fn order(fields: &[Field], out: &mut Vec<u8>) {
    let keys = || fields.iter().map(|field| bytes(out, field.start..field.key_end));
    let indexed = keys().any(|key| array_index(key).is_some());
    if !indexed && !has_duplicates(fields, out) {
        return;
    }
    let ordered = rewritten(fields, out);
    out.truncate(fields.first().map_or(out.len(), |field| field.start));
    out.extend_from_slice(&ordered);
}

fn has_duplicates(fields: &[Field], out: &[u8]) -> bool {
    let key = |field: &Field| bytes(out, field.start..field.key_end);
    if fields.len() > SMALL {
        let mut keys: Vec<&[u8]> = fields.iter().map(key).collect();
        keys.sort_unstable();
        return keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    }
    fields.iter().enumerate().any(|(index, later)| {
        let length = later.key_end - later.start;
        fields
            .iter()
            .take(index)
            .any(|earlier| earlier.key_end - earlier.start == length && key(earlier) == key(later))
    })
}

fn rewritten(fields: &[Field], out: &[u8]) -> Vec<u8> {
    let mut slots: Vec<Field> = Vec::with_capacity(fields.len());
    let mut by_key: HashMap<&[u8], usize> = HashMap::with_capacity(fields.len());
    for &field in fields {
        let slot = *by_key.entry(bytes(out, field.start..field.key_end)).or_insert(slots.len());
        match slots.get_mut(slot) {
            Some(place) => *place = field,
            None => slots.push(field),
        }
    }
    // A stable sort: every key that is no array index keeps its place behind the indices.
    slots.sort_by_key(|slot| {
        array_index(bytes(out, slot.start..slot.key_end)).map_or(u64::MAX, u64::from)
    });
    let texts: Vec<&[u8]> = slots.iter().map(|slot| bytes(out, slot.start..slot.end)).collect();
    texts.join(&b',')
}

/// The array index a key (with its quotes) is in JavaScript: a canonical decimal number below 2^32 - 1 (ECMA-262 6.1.7).
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
