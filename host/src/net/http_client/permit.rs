//! Checks the right to send just before bytes are written.
//!
//! A process may be stopped at any moment and continue long after another process has taken over
//! its work. A check from before the stop does not count then. The permit is therefore checked
//! whenever the connection accepts bytes: first just before the head of the request is written, and
//! then for each further 64 KiB of the body. Bytes that hyper has already accepted, at most about
//! 400 KiB, are sent in any case.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::fmt::Debug;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Most bytes that are sent after one check: 64 KiB.
const PART: usize = 64 * 1024;

/// Knows whether a request may still be sent.
pub trait PermitKeeper: Debug + Send + Sync {
    /// Whether the request with this number may still be sent at this moment.
    fn holds(&self, number: i64) -> bool;
}

/// The right to send a request, until its keeper withdraws it.
#[derive(Debug, Clone)]
pub struct SendPermit {
    pub keeper: Arc<dyn PermitKeeper>,
    pub number: i64,
}

/// A request was stopped, because its permit was lost before its bytes were written.
#[derive(Debug, thiserror::Error)]
#[error("the right to send the request was lost")]
pub struct PermitLost;

/// A body that is only sent while its permit is valid.
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
