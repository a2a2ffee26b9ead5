//! Reads bodies as senders write them: compressed, with a byte order mark, or as a form.

use crate::ingest::event_body::BodyError;
use crate::model::attributes::is_form;
use crate::signing::webhook::form::form_fields;
use brotli_decompressor::{BrotliDecoderParameter, Decompressor};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use indexmap::IndexMap;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Read;

/// The supported content codings, for the header `Accept-Encoding`.
pub const CODINGS: &str = "gzip, deflate, br";
/// Most codings that are applied to one body.
const MAX_CODINGS: usize = 3;
/// How much of the input brotli reads at once, in bytes.
const CHUNK: usize = 4_096;

/// Why a body cannot be decompressed.
#[derive(Debug, PartialEq, Eq)]
pub enum CodingError {
    /// The coding is not supported, or there are too many codings.
    Unknown(String),
    /// The body does not fit the coding.
    Broken(&'static str),
    /// The decompressed body is larger than this limit, in bytes.
    TooLarge(usize),
}

/// Decompresses a body according to `Content-Encoding` (RFC 9110, section 8.4). Fails if the result
/// of any step is larger than `limit` bytes.
pub fn decompress_body<'b>(
    headers: &HeaderMap,
    body: &'b [u8],
    limit: usize,
) -> Result<Cow<'b, [u8]>, CodingError> {
    let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let names = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    let codings: Vec<String> = names
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    if codings.len() > MAX_CODINGS {
        return Err(CodingError::Unknown(codings.join(", ")));
    }
    let mut body = Cow::Borrowed(body);
    // Codings are listed in the order in which the sender applied them.
    for coding in codings.iter().rev() {
        body = Cow::Owned(decode_body(coding, &body, limit)?);
    }
    Ok(body)
}

fn decode_body(coding: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, CodingError> {
    match coding {
        "gzip" | "x-gzip" => read("gzip", MultiGzDecoder::new(body), limit),
        // Deflate means the zlib format (RFC 9110, section 8.4.1.2), but some senders use raw
        // deflate.
        "deflate" => match read("deflate", ZlibDecoder::new(body), limit) {
            Err(CodingError::Broken(_)) => read("deflate", DeflateDecoder::new(body), limit),
            other => other,
        },
        "br" => decode_brotli(body, limit),
        other => Err(CodingError::Unknown(other.to_owned())),
    }
}

fn read(coding: &'static str, from: impl Read, limit: usize) -> Result<Vec<u8>, CodingError> {
    let mut body = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut body).map_err(|_corrupt| CodingError::Broken(coding))?;
    if body.len() > limit { Err(CodingError::TooLarge(limit)) } else { Ok(body) }
}

/// Decompresses brotli without the extension for large windows, which could take up to a gigabyte
/// of memory. RFC 7932 ends at 16 MiB.
fn decode_brotli(body: &[u8], limit: usize) -> Result<Vec<u8>, CodingError> {
    let mut decoder = Decompressor::new(body, CHUNK);
    decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
    read("br", decoder, limit)
}

/// Returns the JSON of a body. A form with the single field `payload` gives the value of that field
/// (GitHub, Slack). Any other form gives an object of its fields, with an array for a field that
/// occurs several times. A form with too many fields is refused. Any other body is returned as it
/// is.
pub fn json_text<'t>(headers: &HeaderMap, text: &'t str) -> Result<Cow<'t, str>, BodyError> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Clients such as curl declare a form by default, even if they send JSON.
    if !media.is_some_and(is_form) || text.trim_start().starts_with(['{', '[']) {
        return Ok(Cow::Borrowed(text));
    }
    let fields =
        form_fields(text.as_bytes()).map_err(|error| BodyError::Malformed(error.to_string()))?;
    if let [(name, payload)] = fields.as_slice()
        && name == "payload"
        && serde_json::from_str::<&RawValue>(payload).is_ok()
    {
        return Ok(Cow::Owned(payload.clone()));
    }
    let mut object: IndexMap<String, Vec<String>> = IndexMap::new();
    for (name, value) in fields {
        object.entry(name).or_default().push(value);
    }
    let members = object.into_iter().map(|(name, mut values)| match values.pop() {
        Some(only) if values.is_empty() => (name, serde_json::Value::String(only)),
        last => {
            values.extend(last);
            (name, values.into())
        }
    });
    Ok(Cow::Owned(serde_json::Value::Object(members.collect()).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write as _;

    const BODY: &[u8] = br#"{"event":"order.made","data":{"id":"1"}}"#;
    /// [`BODY`] as `brotliCompressSync` of Node.js writes it.
    const BROTLI: &str =
        "8b13807b226576656e74223a226f726465722e6d616465222c2264617461223a7b226964223a2231227d7d03";

    fn headers(coding: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().unwrap())])
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_coding_is_read() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(BODY).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(BODY).unwrap();
        for (coding, body) in [
            ("gzip", gzip(BODY)),
            ("X-GZip", gzip(BODY)),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", bare.finish().unwrap()),
            ("br", hex::decode(BROTLI).unwrap()),
            ("gzip, gzip", gzip(&gzip(BODY))),
            ("identity", BODY.to_vec()),
        ] {
            let read = decompress_body(&headers(coding), &body, 100);
            assert_eq!(read.as_deref(), Ok(BODY), "{coding}");
        }
    }

    #[test]
    fn what_is_larger_decompressed_than_allowed_is_refused() {
        let bomb = gzip(&vec![b' '; 1_000_000]);
        assert!(bomb.len() < 2_000);
        assert_eq!(
            decompress_body(&headers("gzip"), &bomb, 2_000),
            Err(CodingError::TooLarge(2_000))
        );
        let twice = gzip(&bomb);
        let read = decompress_body(&headers("gzip, gzip"), &twice, 2_000);
        assert_eq!(read, Err(CodingError::TooLarge(2_000)));
    }

    #[test]
    fn what_is_not_compressed_so_is_refused() {
        for coding in ["gzip", "deflate", "br"] {
            let read = decompress_body(&headers(coding), b"{\"event\":1}", 100);
            assert!(matches!(read, Err(CodingError::Broken(_))), "{coding}");
        }
        for coding in ["zstd", "gzip, gzip, gzip, gzip"] {
            let read = decompress_body(&headers(coding), BODY, 100);
            assert!(matches!(read, Err(CodingError::Unknown(_))), "{coding}");
        }
    }

    #[test]
    fn a_form_is_read_as_json() {
        let media = "application/x-www-form-urlencoded; charset=utf-8".parse().unwrap();
        let form = HeaderMap::from_iter([(header::CONTENT_TYPE, media)]);
        for (text, wanted) in [
            ("payload=%7B%22a%22%3A1.50%7D", r#"{"a":1.50}"#),
            ("payload=%7B%7D&b=2", r#"{"payload":"{}","b":"2"}"#),
            ("a=1&b=%C3%BC+x&a=2", r#"{"a":["1","2"],"b":"ü x"}"#),
            (r#" {"a":1}"#, r#" {"a":1}"#),
        ] {
            assert_eq!(json_text(&form, text).unwrap(), wanted);
        }
        assert_eq!(json_text(&HeaderMap::new(), "a=1").unwrap(), "a=1");
        assert!(json_text(&form, &"a&".repeat(2_000)).is_err());
    }
}
