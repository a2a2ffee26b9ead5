//! Texts as the database keeps them: compressed, where that saves space.
//!
//! Payloads and headers are most of what an event takes, and resemble each other. A dictionary of
//! such texts lets a text of a few hundred bytes be compressed by itself, so that each row can
//! still be read, changed and erased alone.

use crate::store::StoreError;
use crate::store::db::{BoundRow, StoredRow};
use crate::store::error::database_error::corrupt_value;
use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// Trained on the examples of the catalogue and on headers of deliveries (decision 0088). What was
/// compressed with it can be read with it only, so it is never changed: another one gets a file,
/// and an id in each text, of its own.
const DICTIONARY: &[u8] = include_bytes!("packed_text/texts-1.dictionary");
/// The fastest level. Level 3 makes the texts 4 % shorter.
const LEVEL: i32 = 1;
/// Shorter texts are kept as they are: the frame alone takes a dozen bytes.
const SHORTEST: usize = 64;
/// Longest text that is compressed, so that broken bytes cannot ask for more memory.
const LONGEST: usize = 64 * 1024 * 1024;

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = RefCell::new(
        Compressor::with_prepared_dictionary(&ENCODER).ok(),
    );
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = RefCell::new(
        Decompressor::with_prepared_dictionary(&DECODER).ok(),
    );
}

/// Compresses a text. Returns `None` if the text itself is to be stored, because it is short, longer
/// than what is read back, or would not become a quarter shorter.
pub fn pack_text(text: &str) -> Option<Vec<u8>> {
    if text.len() < SHORTEST || text.len() > LONGEST {
        return None;
    }
    let packed = COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.as_mut().and_then(|compressor| compressor.compress(text.as_bytes()).ok())
    })?;
    (packed.len() <= text.len() / 4 * 3).then(|| packed.into_boxed_slice().into_vec())
}

/// Returns a text that [`pack_text`] compressed.
pub fn unpack_text(packed: &[u8]) -> io::Result<String> {
    let length = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    let length = length.and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("its length is missing or too large"))?;
    let bytes = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = decompressor.as_mut();
        let decompressor = decompressor.ok_or_else(|| io::Error::other("out of memory"))?;
        decompressor.decompress(packed, length)
    })?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// Binds the two columns of a text that may be compressed.
pub fn bind_packed<'q>(
    row: BoundRow<'q>,
    text: Option<&'q str>,
    packed: Option<&'q [u8]>,
) -> BoundRow<'q> {
    let text = text.map(|text| if packed.is_some() { "" } else { text });
    row.bind(text).bind(packed)
}

/// Joins the headers of an attempt's request and answer, two JSON objects, so that they are
/// compressed together.
pub fn join_heads(request: &str, response: Option<&str>) -> String {
    response.map_or_else(|| request.to_owned(), |response| format!("{request}\n{response}"))
}

/// Undoes [`join_heads`]. JSON text that Waybill writes contains no line break.
pub fn split_heads(mut heads: String) -> (String, Option<String>) {
    let response = heads.find('\n').map(|end| {
        let response = heads.split_off(end + 1);
        heads.truncate(end);
        response
    });
    (heads, response)
}

/// Returns the text that is stored in `column`, or compressed in `packed`.
pub fn read_packed(
    row: &StoredRow<'_>,
    table: &'static str,
    (column, packed): (&'static str, &'static str),
) -> Result<Option<String>, StoreError> {
    match read_compressed(row, table, packed)? {
        Some(text) => Ok(Some(text)),
        None => row.get(column),
    }
}

/// Returns the text that is compressed in `packed`, if there is one.
pub fn read_compressed(
    row: &StoredRow<'_>,
    table: &'static str,
    packed: &'static str,
) -> Result<Option<String>, StoreError> {
    let bytes: Option<Vec<u8>> = row.get(packed)?;
    let text = bytes.map(|bytes| unpack_text(&bytes)).transpose();
    text.map_err(|error| corrupt_value(table, packed, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVOICE: &str = r#"{"id":"17","number":"INV-000017","clientid":"4","date":"2026-11-30","duedate":"2026-12-30","subtotal":"1299.00","total_tax":"246.81","total":"1545.81","status":"2"}"#;

    #[test]
    fn a_packed_text_is_shorter_and_reads_the_same() {
        let packed = pack_text(INVOICE).unwrap();
        assert!(packed.len() * 2 < INVOICE.len(), "{} of {}", packed.len(), INVOICE.len());
        assert_eq!(unpack_text(&packed).unwrap(), INVOICE);
        let long = format!("[{}]", vec![INVOICE; 20_000].join(","));
        assert_eq!(unpack_text(&pack_text(&long).unwrap()).unwrap(), long);
    }

    #[test]
    fn what_compression_does_not_shorten_is_stored_as_it_is() {
        assert_eq!(pack_text("{}"), None);
        let noise: String = (0..400_u64)
            .map(|n| char::from(33 + u8::try_from(((n * n * 2_654_435_761) >> 7) % 90).unwrap()))
            .collect();
        assert_eq!(pack_text(&noise), None);
    }

    #[test]
    fn headers_are_joined_and_split() {
        for (request, response) in [(r#"{"a":"1\n"}"#, Some("{}")), ("{}", None)] {
            let (first, second) = split_heads(join_heads(request, response));
            assert_eq!((first.as_str(), second.as_deref()), (request, response));
        }
    }

    #[test]
    fn broken_bytes_are_an_error() {
        let packed = pack_text(INVOICE).unwrap();
        for end in 0..packed.len() {
            assert!(unpack_text(&packed[..end]).is_err(), "{end}");
        }
        assert!(unpack_text(b"not compressed").is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_text_reads_the_same(text in ".{64,2000}") {
            if let Some(packed) = pack_text(&text) {
                assert_eq!(unpack_text(&packed).unwrap(), text);
            }
        }
    }
}
