//! Batches of records in the format of Kafka 0.11 and later (Kafka documentation, "Record Batch").

use bytes::{BufMut, Bytes, BytesMut};
use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C, by which a broker checks a batch.
static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The number of the format.
const MAGIC: i8 = 2;
/// Bytes between the beginning of a batch and what its checksum covers.
const UNCHECKED: usize = 21;

/// A message for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaRecord {
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
}

impl KafkaRecord {
    /// Returns an upper bound on the bytes of the record in a batch.
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.len() + headers + 36
    }
}

/// Who wrote a batch, for the recognition of repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchWriter {
    /// The id that the broker gave to this producer; -1 without idempotence.
    pub producer_id: i64,
    pub epoch: i16,
    /// The number of the batch's first record in its partition; -1 without idempotence.
    pub sequence: i32,
}

/// Writes records as one batch. All have the same time, in milliseconds since 1970.
pub fn write_batch<'a>(
    writer: BatchWriter,
    at: i64,
    records: impl ExactSizeIterator<Item = &'a KafkaRecord>,
) -> Bytes {
    let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    // The length, which is known at the end.
    batch.put_i32(0);
    batch.put_i32(-1);
    batch.put_i8(MAGIC);
    // The checksum, which is known at the end.
    batch.put_u32(0);
    // No compression, and the time of the client.
    batch.put_i16(0);
    batch.put_i32(count - 1);
    batch.put_i64(at);
    batch.put_i64(at);
    batch.put_i64(writer.producer_id);
    batch.put_i16(writer.epoch);
    batch.put_i32(writer.sequence);
    batch.put_i32(count);
    let mut bytes = Vec::new();
    for (number, record) in records.enumerate() {
        bytes.clear();
        write_record(&mut bytes, number, record);
        put_varint(&mut batch, as_i64(bytes.len()));
        batch.put_slice(&bytes);
    }
    finish_batch(batch)
}

fn finish_batch(mut batch: BytesMut) -> Bytes {
    let length = u32::try_from(batch.len() - 12).unwrap_or(u32::MAX);
    let checksum = CHECKSUM.checksum(batch.get(UNCHECKED..).unwrap_or_default());
    if let Some(place) = batch.get_mut(8..12) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    if let Some(place) = batch.get_mut(17..UNCHECKED) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    batch.freeze()
}

fn write_record(bytes: &mut Vec<u8>, number: usize, record: &KafkaRecord) {
    bytes.put_i8(0);
    put_varint(bytes, 0);
    put_varint(bytes, as_i64(number));
    match &record.key {
        Some(key) => put_counted(bytes, key),
        None => put_varint(bytes, -1),
    }
    put_counted(bytes, &record.value);
    put_varint(bytes, as_i64(record.headers.len()));
    for (name, value) in &record.headers {
        put_counted(bytes, name.as_bytes());
        put_counted(bytes, value);
    }
}

fn put_counted(bytes: &mut Vec<u8>, content: &[u8]) {
    put_varint(bytes, as_i64(content.len()));
    bytes.put_slice(content);
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Writes a number in zigzag form, seven bits a byte.
fn put_varint(bytes: &mut impl BufMut, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    loop {
        let part = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            return bytes.put_u8(part);
        }
        bytes.put_u8(part | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same two records, as kafka-python 3.0.12 writes them.
    const WRITTEN: &str = concat!(
        "0000000000000000000000a60000000002e5a3e9410000000000010000018bcfe568000000018bcfe56800",
        "0000000000000005000300000007000000024a0000000e6c6561642f31370e7b2261223a317d0214776562",
        "686f6f6b2d69640a646c765f319a01000002018c01",
    );

    #[test]
    fn a_batch_is_written_as_other_clients_write_it() {
        let records = [
            KafkaRecord {
                key: Some(b"lead/17".to_vec()),
                headers: vec![("webhook-id".to_owned(), b"dlv_1".to_vec())],
                value: b"{\"a\":1}".to_vec(),
            },
            KafkaRecord { key: None, headers: Vec::new(), value: vec![b'x'; 70] },
        ];
        let writer = BatchWriter { producer_id: 5, epoch: 3, sequence: 7 };
        let batch = write_batch(writer, 1_700_000_000_000, records.iter());
        let expected = format!("{WRITTEN}{}00", "78".repeat(70));
        let ours = hex::encode(&batch);
        // The epoch of the partition's leader is not covered by the checksum; brokers set it.
        let parts =
            |batch: &str| (batch.get(..24).map(str::to_owned), batch.get(32..).map(str::to_owned));
        assert_eq!(parts(&ours), parts(&expected));
        let bound: usize = records.iter().map(KafkaRecord::size).sum();
        assert!(bound + 61 >= batch.len());
    }
}
