//! Lines for the event's trace.
//!
//! ```
//! use waybill_guest::log;
//!
//! let total = 1250;
//! log::info!("booked {total} cents");
//! log::warn!(invoice = 17, attempt = 2; "the tax line is missing");
//! ```
//!
//! The host bounds the number of lines and their size for each call and leaves out what exceeds
//! it; logging never fails.

pub use crate::bindings::log::Level;
#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info};
#[doc(inline)]
pub use crate::{__trace as trace, __warn as warn};

/// Writes one line. The macros are shorter.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    #[cfg(target_family = "wasm")]
    crate::bindings::log::write(level, message, fields);
    #[cfg(not(target_family = "wasm"))]
    crate::testing::capture(level, message, fields);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($name:ident = $value:expr),+ ; $($message:tt)+) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($($message)+),
            &[$((stringify!($name).to_owned(), ::std::string::ToString::to_string(&$value))),+],
        )
    };
    ($level:ident, $($message:tt)+) => {
        $crate::log::write($crate::log::Level::$level, &::std::format!($($message)+), &[])
    };
}

/// Writes a line that matters only to whoever follows every step.
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($line:tt)+) => { $crate::__log!(Trace, $($line)+) };
}

/// Writes a line for whoever debugs the module.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) };
}

/// Writes a line about what happened.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($line:tt)+) => { $crate::__log!(Info, $($line)+) };
}

/// Writes a line about something odd; the event is handled all the same.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) };
}

/// Writes a line about something that went wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($line:tt)+) => { $crate::__log!(Error, $($line)+) };
}

#[cfg(test)]
mod tests {
    use super::Level;
    use crate::testing::{Host, Line};

    #[test]
    fn lines_carry_level_message_and_fields() {
        let host = Host::new();
        let id = 17;
        crate::log::trace!("a");
        crate::log::debug!("b {id}");
        crate::log::info!("c {}", id + 1);
        crate::log::warn!(invoice = id; "d");
        crate::log::error!(invoice = id, state = "open"; "e {id}");
        let line = |level, message: &str, fields: &[(&str, &str)]| Line {
            level,
            message: message.to_owned(),
            fields: fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let expected = [
            line(Level::Trace, "a", &[]),
            line(Level::Debug, "b 17", &[]),
            line(Level::Info, "c 18", &[]),
            line(Level::Warn, "d", &[("invoice", "17")]),
            line(Level::Error, "e 17", &[("invoice", "17"), ("state", "open")]),
        ];
        assert_eq!(host.log(), expected);
    }
}
