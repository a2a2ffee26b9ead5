//! The encoding of Kafka's requests and answers (Kafka protocol guide, "Protocol Primitive Types").
//!
//! Each request is of one fixed version, which Kafka 2.5 to 4 and compatible brokers know. All but
//! one are of the form before "flexible" versions.

use super::super::publish::PublishError;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Longest answer that is accepted from a broker, in bytes. Only the metadata of a topic with
/// thousands of partitions comes near.
const MAX_ANSWER: usize = 256 * 1024;

/// The name that brokers show for this client.
const CLIENT: &str = "waybill";

/// A kind of request, in the one version that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKind {
    key: i16,
    version: i16,
    /// Whether its header and its answer's header end with tagged fields.
    is_flexible: bool,
}

/// Sends records to partitions.
pub const PRODUCE: RequestKind = RequestKind { key: 0, version: 8, is_flexible: false };
/// Asks for the partitions of topics and for the addresses of the brokers.
pub const METADATA: RequestKind = RequestKind { key: 3, version: 4, is_flexible: false };
/// Chooses the way to log in.
pub const SASL_HANDSHAKE: RequestKind = RequestKind { key: 17, version: 1, is_flexible: false };
/// Asks for the requests that a broker knows.
pub const API_VERSIONS: RequestKind = RequestKind { key: 18, version: 0, is_flexible: false };
/// Asks for the id under which a broker recognises repeated batches.
pub const INIT_PRODUCER_ID: RequestKind = RequestKind { key: 22, version: 3, is_flexible: true };
/// Carries a message of the log-in.
pub const SASL_AUTHENTICATE: RequestKind = RequestKind { key: 36, version: 0, is_flexible: false };

/// A complete `ApiVersions` request with the number -1, for which nothing waits. It keeps a silent
/// connection open.
pub const SIGN_OF_LIFE: &[u8] = &[
    0, 0, 0, 17, 0, 18, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 7, b'w', b'a', b'y', b'b', b'i', b'l',
    b'l',
];

impl RequestKind {
    /// Whether a broker that knows versions up to `newest`, from `oldest`, knows this one.
    pub const fn is_in(self, oldest: i16, newest: i16) -> bool {
        oldest <= self.version && self.version <= newest
    }

    /// Returns the number of the kind.
    pub const fn key(self) -> i16 {
        self.key
    }

    /// Writes a request with its header.
    pub fn write(self, number: i32, body: impl FnOnce(&mut RequestBody)) -> Bytes {
        let mut request = RequestBody(BytesMut::new());
        request.put_i32(0);
        request.put_i16(self.key);
        request.put_i16(self.version);
        request.put_i32(number);
        request.put_text(CLIENT);
        if self.is_flexible {
            request.put_no_tags();
        }
        body(&mut request);
        let length = u32::try_from(request.0.len() - 4).unwrap_or(u32::MAX);
        if let Some(head) = request.0.get_mut(..4) {
            head.copy_from_slice(&length.to_be_bytes());
        }
        request.0.freeze()
    }

    /// Removes the end of an answer's header.
    pub fn open(self, answer: Bytes) -> Result<AnswerBody, PublishError> {
        let mut body = AnswerBody(answer);
        if self.is_flexible {
            body.skip_tags()?;
        }
        Ok(body)
    }
}

/// The body of a request.
#[derive(Debug)]
pub struct RequestBody(BytesMut);

impl RequestBody {
    pub fn put_i8(&mut self, value: i8) {
        self.0.put_i8(value);
    }

    pub fn put_i16(&mut self, value: i16) {
        self.0.put_i16(value);
    }

    pub fn put_i32(&mut self, value: i32) {
        self.0.put_i32(value);
    }

    pub fn put_i64(&mut self, value: i64) {
        self.0.put_i64(value);
    }

    /// Writes a text of at most 32,767 bytes. Callers check longer ones.
    pub fn put_text(&mut self, text: &str) {
        self.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.put_slice(text.as_bytes());
    }

    /// Writes the absence of a text.
    pub fn put_no_text(&mut self) {
        self.put_i16(-1);
    }

    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.0.put_slice(bytes);
    }

    /// Writes the absence of a text in a flexible version.
    pub fn put_no_compact_text(&mut self) {
        self.0.put_u8(0);
    }

    /// Writes that there are no tagged fields.
    pub fn put_no_tags(&mut self) {
        self.0.put_u8(0);
    }
}

/// The body of an answer. Everything in it is checked, because a broker is not trusted.
#[derive(Debug)]
pub struct AnswerBody(Bytes);

impl AnswerBody {
    pub fn take_i16(&mut self) -> Result<i16, PublishError> {
        self.0.try_get_i16().map_err(cut_off)
    }

    pub fn take_i32(&mut self) -> Result<i32, PublishError> {
        self.0.try_get_i32().map_err(cut_off)
    }

    pub fn take_i64(&mut self) -> Result<i64, PublishError> {
        self.0.try_get_i64().map_err(cut_off)
    }

    pub fn take_bool(&mut self) -> Result<bool, PublishError> {
        Ok(self.0.try_get_u8().map_err(cut_off)? != 0)
    }

    /// Reads a text, which is empty if there is none.
    pub fn take_text(&mut self) -> Result<String, PublishError> {
        let length = self.take_i16()?;
        let bytes = self.take(i32::from(length))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads bytes, which are empty if there are none.
    pub fn take_bytes(&mut self) -> Result<Bytes, PublishError> {
        let length = self.take_i32()?;
        self.take(length)
    }

    /// Reads a list. Nothing is reserved for the length that the broker claims.
    pub fn take_list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, PublishError>,
    ) -> Result<Vec<T>, PublishError> {
        let count = self.take_i32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            if self.0.is_empty() {
                return Err(invalid("a list is cut off"));
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn take(&mut self, length: i32) -> Result<Bytes, PublishError> {
        let length = usize::try_from(length).unwrap_or_default();
        if length > self.0.len() {
            return Err(invalid("an answer is cut off"));
        }
        Ok(self.0.split_to(length))
    }

    /// Skips tagged fields: a count, then a number, a length and so many bytes for each.
    pub fn skip_tags(&mut self) -> Result<(), PublishError> {
        for _ in 0..self.take_varint()? {
            self.take_varint()?;
            let length = self.take_varint()?;
            self.take(i32::try_from(length).unwrap_or(i32::MAX))?;
        }
        Ok(())
    }

    fn take_varint(&mut self) -> Result<u32, PublishError> {
        let mut value = 0_u32;
        for n in 0..4 {
            let byte = self.0.try_get_u8().map_err(cut_off)?;
            value |= u32::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(invalid("a number has no end"))
    }
}

/// Removes one answer from the bytes: the number of its request, and its body. Returns `None` until
/// the answer is complete.
pub fn take_answer(bytes: &mut BytesMut) -> Result<Option<(i32, Bytes)>, PublishError> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if !(4..=MAX_ANSWER).contains(&length) {
        return Err(invalid("an answer has an impossible length"));
    }
    if bytes.len() < 4 + length {
        return Ok(None);
    }
    bytes.advance(4);
    let mut answer = bytes.split_to(length).freeze();
    let number = answer.try_get_i32().map_err(cut_off)?;
    Ok(Some((number, answer)))
}

fn cut_off(_: bytes::TryGetError) -> PublishError {
    invalid("an answer is cut off")
}

fn invalid(why: &str) -> PublishError {
    PublishError::protocol(format!(
        "the broker does not speak Kafka's protocol as expected (is it the port for TLS?): {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_of_life_is_a_request() {
        assert_eq!(API_VERSIONS.write(-1, |_| {}), SIGN_OF_LIFE);
    }

    #[test]
    fn an_answer_is_read_once_it_is_complete() {
        let sent = [0, 0, 0, 6, 0, 0, 0, 9, 1, 2];
        let mut bytes = BytesMut::new();
        for byte in &sent[..9] {
            bytes.put_u8(*byte);
            assert_eq!(take_answer(&mut bytes).unwrap(), None);
        }
        bytes.put_u8(2);
        assert_eq!(take_answer(&mut bytes).unwrap(), Some((9, Bytes::from_static(&[1, 2]))));
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_no_broker_sends_is_refused() {
        for sent in [*b"HTTP", [0x15, 3, 3, 0], [0, 0, 0, 3], [0xff; 4]] {
            assert!(take_answer(&mut BytesMut::from(&sent[..])).is_err(), "{sent:?}");
        }
    }

    #[test]
    fn a_length_that_is_not_there_reserves_and_reads_nothing() {
        let body = |bytes: &'static [u8]| AnswerBody(Bytes::from_static(bytes));
        assert!(body(&[0x7f, 0xff, 0xff, 0xff, 0]).take_list(AnswerBody::take_i32).is_err());
        assert!(body(&[0x7f, 0xff, b'x']).take_text().is_err());
        assert!(body(&[0x7f, 0xff, 0xff, 0xff]).take_bytes().is_err());
        assert!(body(&[0xff, 0xff, 0xff, 0xff, 0xff]).skip_tags().is_err());
        assert_eq!(body(&[0xff, 0xff]).take_text().unwrap(), "");
        assert_eq!(body(&[0xff; 4]).take_list(AnswerBody::take_i32).unwrap(), [0; 0]);
    }

    #[test]
    fn tags_are_skipped() {
        let answer = Bytes::from_static(&[1, 5, 2, 9, 9, 0, 7]);
        let mut body = INIT_PRODUCER_ID.open(answer).unwrap();
        assert_eq!(body.take_i16().unwrap(), 7);
    }
}
