//! Reads around rows of the CRM's tables that the database cannot return: rows that fail because of
//! their content are read in halves, down to the row that causes the failure. Each such row takes
//! about seven statements.

use super::super::RunFailed;
use super::crm::{CrmConnection, DatabaseShape, KeyedRows, LOOK_UP};
use crate::crm::tables::CrmTable;

/// Most rows that are read at once after a read has failed.
pub const MOST_ROWS: usize = 100;

/// Reads the rows with the next keys. Those that cannot be read are named in `bad`.
pub async fn read_next(
    crm: &mut CrmConnection,
    shape: &DatabaseShape,
    table: &'static CrmTable,
    mut above: i64,
    limit: usize,
) -> Result<KeyedRows, RunFailed> {
    crm.give_up().await?;
    loop {
        let keys: Vec<i64> = crm.keys(shape, table, above, limit).await?.rows.into_keys().collect();
        let mut found = read_these(crm, shape, table, &keys).await?;
        found.is_cut = keys.len() == limit;
        match keys.last() {
            // All of these rows were deleted after their keys were read.
            Some(last) if found.last_key().is_none() && found.is_cut => above = *last,
            _ => return Ok(found),
        }
    }
}

/// Reads the rows with these keys. Those that cannot be read are named in `bad`.
pub async fn read_these(
    crm: &mut CrmConnection,
    shape: &DatabaseShape,
    table: &'static CrmTable,
    keys: &[i64],
) -> Result<KeyedRows, RunFailed> {
    let mut found = KeyedRows::default();
    let mut parts: Vec<&[i64]> = keys.chunks(LOOK_UP).rev().collect();
    while let Some(part) = parts.pop() {
        match crm.with_keys(shape, table, part).await {
            Ok(read) => {
                found.bytes += read.bytes;
                found.rows.extend(read.rows);
            }
            Err(why) if why.is_of_content() => {
                crm.give_up().await?;
                if let [key] = part {
                    found.bad.insert(*key, why.to_string());
                } else {
                    let (first, rest) = part.split_at(part.len() / 2);
                    parts.extend([rest, first]);
                }
            }
            Err(why) => return Err(why),
        }
    }
    Ok(found)
}
