//! Bounds how many rows one list request examines.
//!
//! A filter that matches few rows would read the whole table: with 180,000 events this took 0.23 s
//! a request. So a list with a filter examines [`ROWS`] rows, newest first, and returns where it
//! stopped; the next page continues there. A page may hold few rows, or none, and still not be the
//! last.

use crate::store::db::SqlQuery;
use crate::store::{EventStore, StoreError};
use crate::time::timestamp::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// Number of rows that one request examines, which takes some 13 ms.
const ROWS: i64 = 10_000;
/// Largest difference between the time in an id and the time that is stored beside it.
const SLACK: Duration = Duration::from_mins(1);

/// A page of a list.
#[derive(Debug)]
pub struct ListPage<R, I> {
    pub rows: Vec<R>,
    /// The id after which the next page begins. `None` on the last page.
    pub next: Option<I>,
}

/// The ids of the rows that one request examines.
#[derive(Debug, Clone, Copy)]
pub struct ListWindow {
    /// Exclusive upper bound.
    pub before: Uuid,
    /// Inclusive lower bound.
    pub from: Uuid,
    /// Whether there are rows below that were not examined.
    is_cut: bool,
}

/// Turns a lower time bound into a bound of ids, which begin with their time.
pub fn since_id(at: Option<Timestamp>, first_at: impl Fn(Timestamp) -> Uuid) -> Option<Uuid> {
    at.map(|at| first_at(at.before(SLACK)))
}

/// Turns an upper time bound into a bound of ids.
pub fn until_id(at: Option<Timestamp>, first_at: impl Fn(Timestamp) -> Uuid) -> Option<Uuid> {
    at.map(|at| first_at(at.after(SLACK)))
}

impl ListWindow {
    /// Returns the window between two ids. A missing bound means the end of the list.
    pub fn between(from: Option<Uuid>, before: impl IntoIterator<Item = Uuid>) -> Self {
        let before = before.into_iter().min().unwrap_or(Uuid::max());
        Self { before, from: from.unwrap_or_default(), is_cut: false }
    }

    /// Makes a page of at most `limit` rows. One further row shows that there are more.
    pub fn page<R>(
        self,
        mut rows: Vec<R>,
        limit: u32,
        id: impl Fn(&R) -> Uuid,
    ) -> ListPage<R, Uuid> {
        let is_full = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = if is_full { rows.last().map(id) } else { self.is_cut.then_some(self.from) };
        ListPage { rows, next }
    }
}

impl<R, I> ListPage<R, I> {
    /// Converts the id of the next page.
    pub fn with_ids<J>(self, id: impl FnOnce(I) -> J) -> ListPage<R, J> {
        ListPage { rows: self.rows, next: self.next.map(id) }
    }
}

/// Returns the two parameters of a nullable id condition: whether it applies, and the id.
pub fn condition(id: Option<Uuid>) -> (Option<&'static str>, Uuid) {
    (id.map(|_| "x"), id.unwrap_or_default())
}

impl EventStore {
    /// Shortens a window to the rows that one request examines. `floor` is the statement that finds
    /// their lowest id.
    pub async fn cut_window(
        &self,
        window: ListWindow,
        floor: &'static str,
    ) -> Result<ListWindow, StoreError> {
        let query = SqlQuery::new(floor).bind(window.before).bind(window.from).bind(ROWS - 1);
        let lowest: Option<Uuid> = self.pool().find_value(query).await?;
        Ok(match lowest {
            Some(from) => ListWindow { from, is_cut: true, ..window },
            None => window,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_after_its_last_row_or_where_the_look_ended() {
        let id = |n: u128| Uuid::from_u128(n);
        let whole = ListWindow::between(None, []);
        let page = |window: ListWindow, rows: &[u128]| {
            window.page(rows.iter().map(|n| id(*n)).collect(), 2, |row| *row)
        };
        let full = page(whole, &[9, 8, 7]);
        assert_eq!((full.rows, full.next), (vec![id(9), id(8)], Some(id(8))));
        assert_eq!(page(whole, &[9, 8]).next, None);
        let cut = ListWindow { from: id(5), is_cut: true, ..whole };
        assert_eq!(page(cut, &[]).next, Some(id(5)));
        assert_eq!(page(cut, &[9, 8, 7]).next, Some(id(8)));
        assert_eq!(ListWindow::between(None, [id(7), id(3)]).before, id(3));
    }
}
