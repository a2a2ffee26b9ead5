//! The rules of the section `capture`.

use super::{Config, ConfigRule, LogAddress, MINUTE, SECOND, check_range};

/// Smallest size of the stream, in bytes.
const SMALLEST: u64 = 1 << 20;

impl Config {
    pub(super) fn capture_rules(&self) -> [ConfigRule; 9] {
        let capture = &self.capture;
        let is_address = |text: &str| LogAddress::parse(text).is_ok();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        [
            (
                capture.log.as_ref().is_none_or(|log| is_address(log.expose())),
                "capture.log",
                "must be nats:// or tls:// with one to eight hosts, such as \
                 \"nats://a:4222,b:4222,c:4222\"",
            ),
            (
                capture.credentials.is_none() || capture.log.is_some(),
                "capture.credentials",
                "is for capture.log: set both",
            ),
            (
                (1..=100).contains(&capture.stream.len()) && capture.stream.chars().all(is_plain),
                "capture.stream",
                "must be 1 to 100 letters, digits, `_` or `-`",
            ),
            ((1..=5).contains(&capture.replicas), "capture.replicas", "must be 1 to 5"),
            (
                check_range(capture.repeats, SECOND, 24 * 60 * MINUTE),
                "capture.repeats",
                "must be \"1s\" to \"24h\"",
            ),
            (
                (SMALLEST..=1 << 50).contains(&capture.max_size),
                "capture.max_size",
                "must be at least 1048576 bytes",
            ),
            ((1..=256).contains(&capture.cells), "capture.cells", "must be 1 to 256"),
            (
                capture.cells == 1 || capture.log.is_some(),
                "capture.cells",
                "is for capture.log: set both",
            ),
            (
                (1..=capture.cells.max(1)).contains(&capture.cell),
                "capture.cell",
                "must be 1 to capture.cells",
            ),
        ]
    }
}
