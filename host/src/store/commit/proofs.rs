//! Queries that show whether a transaction was committed whose commit got no answer. They search
//! for rows that only this transaction writes: the id of an event, and the time of a plan, come
//! from the operation itself, and no two transactions commit the same operation.

use super::operation::WriteOperation;
use crate::store::db::SqlQuery;
use crate::store::statements;

/// Largest number of rows to search for. One row is enough, but a repeat writes no event of its
/// own, and a plan whose lease ran out writes no trace.
const MOST: usize = 16;

/// Returns queries that each find a row if these operations were committed.
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
        // An operation that is written again until it succeeds proves nothing, because an earlier
        // transaction may have written it.
        WriteOperation::Settle(_)
        | WriteOperation::Note(_)
        | WriteOperation::Prove { .. }
        | WriteOperation::Flush { .. } => Vec::new(),
    }
}
