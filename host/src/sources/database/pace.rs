//! Limits the load on a database: chunks of bounded size, and a pause after each.

use crate::time::span::TimeSpan;
use std::time::Duration;

/// Most rows in a chunk.
pub const ROWS: usize = 1_000;
/// The size of a chunk, in bytes, after which no further row is added.
pub const BYTES: usize = 8 * 1024 * 1024;

/// The number of rows to request for the next chunk. Rows beyond [`BYTES`] are read and discarded,
/// so the number shrinks when rows are large.
#[derive(Debug, Clone, Copy)]
pub struct ReadPace(usize);

impl ReadPace {
    /// Begins with this number of rows.
    pub const fn new(rows: usize) -> Self {
        Self(rows)
    }

    /// Returns the number of rows to request.
    pub const fn rows(self) -> usize {
        self.0
    }

    /// Adjusts the number to the last chunk: how many rows fitted, and how many bytes they had.
    pub fn learn(&mut self, rows: usize, bytes: usize) {
        let fits = rows.saturating_mul(BYTES).checked_div(bytes).unwrap_or(ROWS);
        self.0 = fits.min(self.0.saturating_mul(4)).clamp(1, ROWS);
    }
}

/// Pauses for the configured time, or for as long as the last chunk took.
pub async fn rest(pause: Option<TimeSpan>, took: Duration) {
    let pause = pause.map_or(took, TimeSpan::get);
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_bounded_in_rows_and_in_bytes() {
        let mut pace = ReadPace::new(50);
        let mut asked = Vec::new();
        for (rows, bytes) in [(50, 5_000), (200, 20_000), (800, 80_000), (8, BYTES), (1, 3 * BYTES)]
        {
            pace.learn(rows, bytes);
            asked.push(pace.rows());
        }
        assert_eq!(asked, [200, 800, 1_000, 8, 1]);
        pace.learn(0, 0);
        assert_eq!(pace.rows(), 4, "and grows again");
    }
}
