//! Rows by which a transaction is found again whose commit got no answer. Only this one writes them:
//! an event has its id, and a plan its time, from the operation itself, which is never written by
//! two transactions that both commit.

use super::operation::WriteOperation;
use crate::store::db::SqlQuery;
use crate::store::statements;

/// Most rows that are looked for. Any one is enough, but a repeat writes no event of its own, and a
/// plan whose lease ran out no trace.
const MOST: usize = 16;

/// Queries that find a row each if these operations were committed.
pub fn commit_proofs(operations: &[WriteOperation]) -> Vec<SqlQuery<'_>> {
    operations.iter().flat_map(operation_proofs).take(MOST).collect()
}

fn operation_proofs(operation: &WriteOperation) -> Vec<SqlQuery<'_>> {
    match operation {
        WriteOperation::Capture { captures, .. }
        | WriteOperation::Take { captures, .. }
        | WriteOperation::Alert { captures, .. } => {
            let event = |id| SqlQuery::new(statements::FIND_EVENT).bind(id);
            captures.iter().take(MOST).map(|capture| event(capture.event.id)).collect()
        }
        WriteOperation::Plan { planned, .. } => vec![
            SqlQuery::new(statements::FIND_PLAN)
                .bind(planned.event.id)
                .bind(planned.flow)
                .bind(planned.at),
        ],
        // What is written again until it is recorded proves nothing: an earlier transaction may
        // have written it.
        WriteOperation::Settle(_)
        | WriteOperation::Note(_)
        | WriteOperation::Prove { .. }
        | WriteOperation::Flush { .. } => Vec::new(),
    }
}
