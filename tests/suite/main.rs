//! The black-box suite: one program, so that everything is linked once.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod tidy;
