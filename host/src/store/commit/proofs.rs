//! Rows by which a transaction is found again whose commit got no answer.

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
        WriteOperation::Capture { captures, .. } | WriteOperation::Take { captures, .. } => {
            let event = |id| SqlQuery::new(statements::FIND_EVENT).bind(id);
            captures.iter().take(MOST).map(|capture| event(capture.event.id)).collect()
        }
        WriteOperation::Plan { planned, .. } => vec![
            SqlQuery::new(statements::FIND_PLAN)
                .bind(planned.event.id)
                .bind(planned.flow)
                .bind(planned.at),
        ],
        WriteOperation::Settle(settled) => vec![
            SqlQuery::new(statements::FIND_ATTEMPT)
                .bind(settled.delivery)
                .bind(settled.attempt.number)
                .bind(settled.attempt.at),
        ],
        WriteOperation::Note(_) | WriteOperation::Prove { .. } | WriteOperation::Flush { .. } => {
            Vec::new()
        }
    }
}
