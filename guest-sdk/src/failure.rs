//! Making failures.

use std::time::Duration;

use crate::{Failure, Reason, Retry};

impl Failure {
    /// A failure that may pass: the host plans the same event again later.
    ///
    /// `code` is a short, stable word in lower-case letters, digits and underscores, `message` is
    /// for whoever reads the event's trace.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Retryable(Retry { reason: reason(code, message), after_seconds: None })
    }

    /// A failure that the same event would meet every time: the event becomes a dead letter, which
    /// can be replayed once the module or its configuration is mended.
    ///
    /// `code` and `message` are as in [`Failure::retryable`].
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Permanent(reason(code, message))
    }

    /// Asks for the retry after `delay` at the earliest, rounded up to whole seconds, 30 days at
    /// most. A permanent failure stays as it is.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Self::Retryable(retry) = &mut self {
            retry.after_seconds = Some(whole_seconds(delay));
        }
        self
    }

    /// Says where in the payload the trouble is, as a JSON Pointer (RFC 6901) such as `/items/0`.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        let (Self::Retryable(Retry { reason, .. }) | Self::Permanent(reason)) = &mut self;
        reason.pointer = Some(pointer.into());
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        let (Self::Retryable(Retry { reason, .. }) | Self::Permanent(reason)) = self;
        reason
    }
}

/// A delay as the interface takes it: rounded up, and the largest there is where it is longer.
pub(crate) fn whole_seconds(delay: Duration) -> u32 {
    let started = u64::from(delay.subsec_nanos() > 0);
    u32::try_from(delay.as_secs().saturating_add(started)).unwrap_or(u32::MAX)
}

fn reason(code: impl Into<String>, message: impl Into<String>) -> Reason {
    Reason { code: code.into(), message: message.into(), pointer: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_is_rounded_up_and_bounded() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn delay_is_for_retryable_failures_alone() {
        let delay = Duration::from_secs(90);
        let retryable = Failure::retryable("busy", "later").after(delay);
        assert!(matches!(retryable, Failure::Retryable(Retry { after_seconds: Some(90), .. })));
        let permanent = Failure::permanent("broken", "never");
        assert_eq!(permanent.clone().after(delay), permanent);
    }

    #[test]
    fn pointer_and_reason_work_for_both() {
        for failure in [Failure::retryable("c", "m"), Failure::permanent("c", "m")] {
            let failure = failure.at("/total");
            assert_eq!(failure.reason().code, "c");
            assert_eq!(failure.reason().message, "m");
            assert_eq!(failure.reason().pointer.as_deref(), Some("/total"));
        }
    }
}
