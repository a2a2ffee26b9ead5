//! Lists in bounds: how much of a table one request looks through.
//!
//! A filter that fits few rows would have the whole table read: 180,000 events took 0.23 s a
//! request. So a list with a filter looks through [`ROWS`] rows, newest first, and says where it
//! stopped; the next page goes on there. A page may hold few rows, or none, and not be the last.

use crate::store::db::SqlQuery;
use crate::store::{EventStore, StoreError};
use crate::time::timestamp::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// Rows that one request looks through: some 13 ms.
const ROWS: i64 = 10_000;
/// How far the time in an id may be from the time that is stored beside it.
const SLACK: Duration = Duration::from_mins(1);

/// A page of a list.
#[derive(Debug)]
pub struct ListPage<R, I> {
    pub rows: Vec<R>,
    /// What to go on after; `None` on the last page.
    pub next: Option<I>,
}

/// The part of a list that one request looks through, by id.
#[derive(Debug, Clone, Copy)]
pub struct ListWindow {
    /// Only lower ids.
    pub before: Uuid,
    /// Only this id and higher ones.
    pub from: Uuid,
    /// Whether there are rows below that were not looked at.
    is_cut: bool,
}

/// A time bound as a bound of ids, which begin with their time.
pub fn since_id(at: Option<Timestamp>, first_at: impl Fn(Timestamp) -> Uuid) -> Option<Uuid> {
    at.map(|at| first_at(at.before(SLACK)))
}

/// The same for a bound above.
pub fn until_id(at: Option<Timestamp>, first_at: impl Fn(Timestamp) -> Uuid) -> Option<Uuid> {
    at.map(|at| first_at(at.after(SLACK)))
}

impl ListWindow {
    /// All of a list between two ids, as far as they are given.
    pub fn between(from: Option<Uuid>, before: impl IntoIterator<Item = Uuid>) -> Self {
        let before = before.into_iter().min().unwrap_or(Uuid::max());
        Self { before, from: from.unwrap_or(Uuid::nil()), is_cut: false }
    }

    /// A page of at most `limit` of the rows that were found; one row more says that there are
    /// others.
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
    /// The same with another kind of id.
    pub fn with_ids<J>(self, id: impl FnOnce(I) -> J) -> ListPage<R, J> {
        ListPage { rows: self.rows, next: self.next.map(id) }
    }
}

/// What a nullable id condition binds: whether it applies, and the id.
pub fn condition(id: Option<Uuid>) -> (Option<&'static str>, Uuid) {
    (id.map(|_| "x"), id.unwrap_or_default())
}

impl EventStore {
    /// Cuts a window to what one request looks through. `floor` finds the lowest id of that.
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
