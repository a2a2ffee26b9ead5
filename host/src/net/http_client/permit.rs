//! The last look before bytes go out.
//!
//! A process may be stopped at any moment and go on when its work is long another's. What it was
//! told before does not count then, so it is asked again whenever the connection takes bytes: for
//! the first time just before the head of the request is written, and in a body of more than 64 KiB
//! for each further part. What hyper has taken before, at most about 400 KiB, is sent all the same.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::fmt::Debug;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes that go out at one look.
const PART: usize = 64 * 1024;

/// Knows whether work that was begun may go on.
pub trait PermitKeeper: Debug + Send + Sync {
    /// Whether what was begun under that number is still to be sent, at this moment.
    fn holds(&self, number: i64) -> bool;
}

/// The right to send a request, until its keeper says otherwise.
#[derive(Debug, Clone)]
pub struct SendPermit {
    pub keeper: Arc<dyn PermitKeeper>,
    pub number: i64,
}

/// A request was broken off, because its permit was gone when its bytes were to be written.
#[derive(Debug, thiserror::Error)]
#[error("the right to send it was lost")]
pub struct PermitLost;

/// A body that is only sent while its permit holds.
#[derive(Debug)]
pub struct GuardedBody {
    rest: Bytes,
    permit: Option<SendPermit>,
}

impl GuardedBody {
    pub const fn new(whole: Bytes, permit: Option<SendPermit>) -> Self {
        Self { rest: whole, permit }
    }

    fn take_part(&mut self) -> Result<Bytes, PermitLost> {
        let Some(permit) = &self.permit else { return Ok(mem::take(&mut self.rest)) };
        if !permit.keeper.holds(permit.number) {
            return Err(PermitLost);
        }
        let part = self.rest.len().min(PART);
        Ok(self.rest.split_to(part))
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = PermitLost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PermitLost>>> {
        let is_left = !self.rest.is_empty();
        Poll::Ready(is_left.then(|| self.take_part().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
