//! Leaves bodies that are too large out of a connection.
//!
//! lapin assembles the whole body of a message before it hands the message over, and a broker
//! counts messages without an acknowledgement, not their bytes. So a message whose body is larger
//! than the reader accepts reaches lapin with an empty body.

use crate::channels::pipe::ByteStream;
use bytes::BytesMut;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The types of the frames with the properties of a message and with a part of its body
/// (AMQP 0-9-1, section 4.2).
const HEADER: u8 = 2;
const BODY: u8 = 3;
/// Bytes of a frame before its payload: type, channel and size of the payload.
const FRAME_HEAD: usize = 7;
/// Bytes of a frame after its payload.
const FRAME_END: usize = 1;
/// Bytes of a header's payload up to the size of the body, and to its end: class, weight, size.
const SIZE_BEGIN: usize = 4;
const SIZE_END: usize = 12;
/// Most bytes of one read.
const READ: usize = 32 * 1024;

/// The largest body that a connection passes on, and the bodies that it left out.
#[derive(Debug, Clone)]
pub struct BodyLimit {
    max_bytes: u64,
    /// The sizes of the bodies that were left out, by delivery tag.
    left_out: Arc<Mutex<HashMap<u64, u64>>>,
}

impl BodyLimit {
    /// Returns a limit for one connection with one channel.
    pub fn new(max_bytes: u32) -> Self {
        Self { max_bytes: u64::from(max_bytes), left_out: Arc::default() }
    }

    /// Returns the size of the body of a delivery, in bytes, if the body was left out. Each size is
    /// returned once.
    pub fn take_left_out(&self, delivery_tag: u64) -> Option<u64> {
        self.lock().remove(&delivery_tag)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that leaves out bodies above a limit.
pub struct LimitedStream {
    stream: Box<dyn ByteStream>,
    filter: BodyFilter,
    chunk: Box<[u8]>,
    /// Bytes that were read and are not filtered yet, at most the head of a frame.
    input: BytesMut,
    /// Bytes to hand on.
    output: BytesMut,
}

impl fmt::Debug for LimitedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedStream").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl LimitedStream {
    /// Wraps a connection on which nothing was read yet.
    pub fn new(stream: Box<dyn ByteStream>, limit: BodyLimit) -> Self {
        let chunk = vec![0; READ].into_boxed_slice();
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { stream, filter: BodyFilter::new(limit), chunk, input, output }
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        taken: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.output.is_empty() {
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.input.extend_from_slice(chunk.filled());
            this.filter.pass_on(&mut this.input, &mut this.output);
        }
        let count = taken.remaining().min(this.output.len());
        taken.put_slice(&this.output.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Reads the heads of frames and drops the bodies above the limit.
#[derive(Debug)]
struct BodyFilter {
    limit: BodyLimit,
    /// The tag of the last delivery. The broker counts the deliveries of a channel from 1.
    delivery_tag: u64,
    /// Bytes of the body being left out that are still to come.
    body_left: u64,
    /// Bytes of the current frame that are still to come.
    frame_left: usize,
    is_dropped: bool,
}

impl BodyFilter {
    const fn new(limit: BodyLimit) -> Self {
        Self { limit, delivery_tag: 0, body_left: 0, frame_left: 0, is_dropped: false }
    }

    /// Moves the bytes of known frames to the output, without the bodies that are left out.
    fn pass_on(&mut self, input: &mut BytesMut, output: &mut BytesMut) {
        while self.frame_left > 0 || self.begin_frame(input) {
            let here = input.split_to(self.frame_left.min(input.len()));
            self.frame_left -= here.len();
            if !self.is_dropped {
                output.extend_from_slice(&here);
            }
            if self.frame_left > 0 {
                return;
            }
        }
    }

    /// Reads the head of the next frame. Returns false until it is complete.
    fn begin_frame(&mut self, input: &mut BytesMut) -> bool {
        let Some([kind, _, _, size @ ..]) = input.first_chunk::<FRAME_HEAD>().copied() else {
            return false;
        };
        let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
        if kind == HEADER && size >= SIZE_END {
            let place = FRAME_HEAD + SIZE_BEGIN..FRAME_HEAD + SIZE_END;
            let Some(place) = input.get_mut(place) else { return false };
            self.begin_message(place);
        }
        self.is_dropped = kind == BODY && self.body_left > 0;
        if self.is_dropped {
            self.body_left = self.body_left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
        }
        self.frame_left = size.saturating_add(FRAME_HEAD + FRAME_END);
        true
    }

    /// Reads the size of a message's body, and sets it to 0 if the body is left out.
    fn begin_message(&mut self, size: &mut [u8]) {
        let bytes = size.iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte));
        self.delivery_tag += 1;
        if bytes > self.limit.max_bytes {
            self.body_left = bytes;
            self.limit.lock().insert(self.delivery_tag, bytes);
            size.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1], &size[..], payload, &[0xce]].concat()
    }

    /// A message with its deliver method, its header and its body in frames of at most four bytes.
    fn message(size: u64, body: &[u8]) -> Vec<u8> {
        let header = [&[0, 60, 0, 0], &size.to_be_bytes()[..], &[0x80, 0, 1, b'x']].concat();
        let parts = body.chunks(4).flat_map(|part| frame(BODY, part));
        [frame(1, b"deliver"), frame(HEADER, &header)].concat().into_iter().chain(parts).collect()
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_left_out_however_its_bytes_arrive() {
        let hello = b"AMQP\0\0\x09\x01";
        let sent =
            [message(5, b"short"), message(9, b"too large"), message(0, b""), message(5, b"again")];
        let expected =
            [message(5, b"short"), message(0, b""), message(0, b""), message(5, b"again")];
        for step in [1, 3, 19, 1_000] {
            let limit = BodyLimit::new(5);
            let (ours, mut theirs) = duplex(step);
            let mut stream = LimitedStream::new(Box::new(ours), limit.clone());
            let bytes = sent.concat();
            let writing = tokio::spawn(async move { theirs.write_all(&bytes).await });
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.unwrap();
            writing.await.unwrap().unwrap();
            assert_eq!(read, expected.concat(), "{step}");
            let left_out: Vec<Option<u64>> = (1..=4).map(|tag| limit.take_left_out(tag)).collect();
            assert_eq!(left_out, [None, Some(9), None, None]);
            assert_eq!(limit.take_left_out(2), None, "it is returned once");
        }
        let (ours, mut theirs) = duplex(64);
        theirs.write_all(hello).await.unwrap();
        drop(theirs);
        let mut refusal = Vec::new();
        let mut stream = LimitedStream::new(Box::new(ours), BodyLimit::new(5));
        stream.read_to_end(&mut refusal).await.unwrap();
        assert_eq!(refusal, hello, "a broker of another version answers with eight bytes");
    }
}
