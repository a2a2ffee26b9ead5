//! Points in time, lengths of time, cron expressions, and a clock that tests can set.

pub mod clock;
pub mod cron;
pub mod followed_time;
pub mod span;
pub mod steady_time;
pub mod timestamp;
