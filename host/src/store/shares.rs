//! Divides the limits of endpoints among the nodes of a PostgreSQL database.
//!
//! Once a second each node writes how much of each limit it holds and wants, and receives its
//! share, in one transaction that never overlaps with another node's. A share grows only by amounts
//! that no node holds. When a share shrinks, the node holds the old amount until its requests have
//! ended. So all nodes together never exceed a limit, and a delivery needs no query.
//!
//! A node that is alone has the whole limit and writes nothing. Next to a node that has not written
//! any shares yet, a node has nothing: for a second or two the other one believes that it is alone.

use super::db::{BoundRow, DatabaseDialect, FromStoredRow, SqlQuery, StoredRow, WriteTransaction};
use super::{EventStore, StoreError, statements};
use crate::model::fair_share::divide_fairly;
use crate::model::id::TokenId;
use uuid::Uuid;

/// Key of the advisory lock for nodes that divide limits.
const SHARES_LOCK: i64 = 0x7761_7962_696c_6c04;
/// Thousandths of a rate that all idle nodes together keep, so that their next delivery goes out at
/// once.
const IDLE_RATE: u32 = 50;
/// An id that no node has, because ids are positive.
const NOBODY: i64 = -1;
/// Marks a node that keeps to its shares.
const MARK: i16 = -1;

/// A limit that holds for all nodes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShareKind {
    /// Concurrent requests of an endpoint.
    Requests,
    /// Thousandths of an endpoint's rate.
    Rate,
}

impl ShareKind {
    const fn code(self) -> i16 {
        match self {
            Self::Requests => 0,
            Self::Rate => 1,
        }
    }
}

/// The amount of a limit that this node holds and wants.
#[derive(Debug, Clone, Copy)]
pub struct ShareNeed {
    pub kind: ShareKind,
    pub subject: Uuid,
    /// The whole limit.
    pub total: u32,
    /// The amount that this node may be using.
    pub held: u32,
    pub wanted: u32,
}

/// The amount of a limit that another node holds.
struct OtherShare {
    node: i64,
    kind: i16,
    subject: Uuid,
    held: Option<i32>,
    wanted: Option<i32>,
    is_sharing: bool,
}

impl FromStoredRow for OtherShare {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            node: row.get("node")?,
            kind: row.get("kind")?,
            subject: row.get("subject")?,
            held: row.get("held")?,
            wanted: row.get("wanted")?,
            is_sharing: row.get("is_sharing")?,
        })
    }
}

fn amount(stored: Option<i32>) -> u32 {
    stored.and_then(|stored| u32::try_from(stored).ok()).unwrap_or(0)
}

/// The result of dividing a limit.
struct DividedLimit {
    need: ShareNeed,
    /// The amount that the node holds, which is written to the table.
    held: u32,
    share: u32,
}

/// Computes the share of a node among others.
fn divide_limit(node: i64, need: ShareNeed, others: &[&OtherShare]) -> DividedLimit {
    let need = ShareNeed { wanted: need.wanted.max(least_wanted(need.kind, others.len())), ..need };
    if others.iter().any(|other| !other.is_sharing) {
        return DividedLimit { need, held: need.held, share: 0 };
    }
    let mut parties: Vec<(i64, u32)> =
        others.iter().map(|other| (other.node, amount(other.wanted))).collect();
    parties.push((node, need.wanted));
    parties.sort_unstable();
    let wanted: Vec<u32> = parties.iter().map(|(_, wanted)| *wanted).collect();
    let place = parties.iter().position(|(party, _)| *party == node);
    let fair = place.and_then(|place| divide_fairly(need.total, &wanted).get(place).copied());
    let taken: u32 = others.iter().map(|other| amount(other.held)).sum();
    let share = fair.unwrap_or(0).min(need.total.saturating_sub(taken));
    DividedLimit { need, held: share.max(need.held), share }
}

fn least_wanted(kind: ShareKind, others: usize) -> u32 {
    match kind {
        ShareKind::Requests => 0,
        ShareKind::Rate => IDLE_RATE / u32::try_from(others.max(1)).unwrap_or(u32::MAX),
    }
}

async fn divide_all(
    tx: &mut WriteTransaction<'_>,
    node: i64,
    needs: &[ShareNeed],
    is_changed: bool,
) -> Result<Vec<u32>, StoreError> {
    tx.lock_keys(&[SHARES_LOCK]).await?;
    let asked =
        |need: &ShareNeed| BoundRow::new().bind(need.kind.code()).bind(need.subject).bind(node);
    let asked = needs.iter().map(asked).collect();
    let others: Vec<OtherShare> = tx.fetch_bulk(&statements::OTHER_SHARES, asked).await?;
    let divide = |need: &ShareNeed| {
        let same =
            |other: &&OtherShare| other.kind == need.kind.code() && other.subject == need.subject;
        let others: Vec<&OtherShare> = others.iter().filter(same).collect();
        divide_limit(node, *need, &others)
    };
    let divided: Vec<DividedLimit> = needs.iter().map(divide).collect();
    let forgotten = if is_changed { node } else { NOBODY };
    tx.execute(SqlQuery::new(statements::FORGET_SHARES).bind(forgotten)).await?;
    let stored = |amount: u32| i32::try_from(amount).unwrap_or(i32::MAX);
    let row = |kind: i16, subject: Uuid, held: u32, wanted: u32| {
        let row = BoundRow::new().bind(node).bind(kind).bind(subject);
        row.bind(stored(held)).bind(stored(wanted))
    };
    let mut rows = vec![row(MARK, Uuid::nil(), 0, 0)];
    rows.extend(divided.iter().map(|DividedLimit { need, held, .. }| {
        row(need.kind.code(), need.subject, *held, need.wanted)
    }));
    tx.execute_bulk(&statements::PUT_SHARE, rows).await?;
    Ok(divided.into_iter().map(|one| one.share).collect())
}

impl EventStore {
    /// Returns whether limits have to be divided because other nodes share the database.
    pub fn has_others(&self) -> bool {
        self.pool().dialect() == DatabaseDialect::Postgres
            && self.inner.followers.others.are_there()
    }

    /// Writes the needs of this node and returns its share of each, in the same order. With
    /// `is_changed` the limits differ from those of the last call, and the amounts held of the old
    /// ones are deleted.
    pub async fn divide_limits(
        &self,
        needs: Vec<ShareNeed>,
        is_changed: bool,
    ) -> Result<Vec<u32>, StoreError> {
        let node = self.inner.node;
        let divided = self.pool().write_promptly(move |tx| {
            Box::pin(async move { divide_all(tx, node, &needs, is_changed).await })
        });
        divided.await
    }

    /// Stops sharing. Returns whether this node is alone and may use all limits in full.
    pub async fn end_sharing(&self) -> Result<bool, StoreError> {
        let node = self.inner.node;
        let ended = self.pool().write_promptly(move |tx| {
            Box::pin(async move {
                tx.lock_keys(&[SHARES_LOCK]).await?;
                let others = SqlQuery::new(statements::OTHER_NODES).bind(node);
                let is_alone = tx.fetch_optional::<()>(others).await?.is_none();
                if is_alone {
                    tx.execute(SqlQuery::new(statements::FORGET_SHARES).bind(node)).await?;
                }
                Ok(is_alone)
            })
        });
        ended.await
    }

    /// Takes calls from a token's budget for one minute, counted since 1970, which holds for all
    /// nodes together. Returns the number of calls taken so far, or `None` if the budget has too
    /// few left.
    pub async fn take_calls(
        &self,
        token: TokenId,
        minute: i64,
        calls: u32,
        limit: u32,
    ) -> Result<Option<u32>, StoreError> {
        let stored = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let writing = self.pool().write_promptly(move |tx| {
            Box::pin(async move {
                let take = SqlQuery::new(statements::TAKE_CALLS).bind(token).bind(minute);
                tx.fetch_optional(take.bind(stored(calls)).bind(stored(limit))).await
            })
        });
        let calls: Option<TakenCalls> = writing.await?;
        Ok(calls.map(|calls| amount(Some(calls.by_all))))
    }
}

struct TakenCalls {
    by_all: i32,
}

impl FromStoredRow for TakenCalls {
    fn from_row(row: &StoredRow<'_>) -> Result<Self, StoreError> {
        Ok(Self { by_all: row.get("value")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::prefetch::WHOLE_RATE;

    fn other(node: i64, held: i32, wanted: i32) -> OtherShare {
        let (held, wanted) = (Some(held), Some(wanted));
        OtherShare { node, kind: 0, subject: Uuid::nil(), held, wanted, is_sharing: true }
    }

    fn need(total: u32, held: u32, wanted: u32) -> ShareNeed {
        ShareNeed { kind: ShareKind::Requests, subject: Uuid::nil(), total, held, wanted }
    }

    fn divided(node: i64, need: ShareNeed, others: &[OtherShare]) -> (u32, u32) {
        let others: Vec<&OtherShare> = others.iter().collect();
        let DividedLimit { held, share, .. } = divide_limit(node, need, &others);
        (held, share)
    }

    #[test]
    fn a_share_grows_only_by_what_nobody_holds() {
        assert_eq!(divided(2, need(10, 0, 10), &[other(1, 10, 10)]), (0, 0));
        assert_eq!(divided(1, need(10, 10, 10), &[other(2, 0, 10)]), (10, 5), "gives half back");
        assert_eq!(divided(1, need(10, 7, 10), &[other(2, 0, 10)]), (7, 5), "not at once");
        assert_eq!(divided(2, need(10, 0, 10), &[other(1, 7, 10)]), (3, 3));
        assert_eq!(divided(2, need(10, 3, 10), &[other(1, 5, 10)]), (5, 5));
    }

    #[test]
    fn a_node_beside_one_that_does_not_share_has_nothing() {
        let unaware = OtherShare { held: None, wanted: None, is_sharing: false, ..other(1, 0, 0) };
        assert_eq!(divided(2, need(10, 0, 10), &[unaware]), (0, 0));
    }

    #[test]
    fn idle_nodes_leave_nearly_all_of_a_rate_to_the_others() {
        let rate =
            |held, wanted| ShareNeed { kind: ShareKind::Rate, ..need(WHOLE_RATE, held, wanted) };
        let idle = [other(2, 25, 25), other(3, 25, 25)];
        assert_eq!(divided(1, rate(0, WHOLE_RATE), &idle), (950, 950));
        let busy = [other(1, 950, 1_000), other(3, 25, 25)];
        assert_eq!(divided(2, rate(25, 0), &busy), (25, 25));
    }
}
