//! Reads around rows that the database cannot return: a chunk that fails because of its content is
//! read in halves, down to the row that causes the failure. Each such row takes about twenty
//! statements.

use super::super::super::RunFailed;
use super::super::super::letters::MOST_BAD;
use super::server::{CustomConnection, RowChunk, RowSelection, UnreadableRow};
use super::table::ReadableTable;
use crate::model::database_source::DatabaseEngine;

/// Reads the next rows. Names those that cannot be read.
pub async fn next(
    server: &mut CustomConnection,
    table: &ReadableTable,
    after: Option<&str>,
    limit: usize,
    only_key: bool,
) -> Result<RowChunk, RunFailed> {
    match server.read_rows(table, RowSelection::Next(after, limit), only_key).await {
        Err(why) if why.is_of_content() => {}
        read => return read,
    }
    server.give_up().await?;
    let mut parts = vec![(0, limit)];
    let mut found = RowChunk { has_more: true, ..RowChunk::default() };
    // The number of rows with an unreadable key since the last row with a readable one.
    let mut unnamed = 0;
    while let Some((skip, count)) = parts.pop() {
        let which = RowSelection::Past(after, skip, count);
        match server.read_rows(table, which, only_key).await {
            Ok(chunk) => {
                let (read, is_cut) = (chunk.len(), chunk.has_more && chunk.len() < count);
                unnamed = if read > 0 { 0 } else { unnamed };
                add(&mut found, chunk);
                if is_cut {
                    parts.push((skip + read, count - read));
                } else if read < count {
                    found.has_more = false;
                    break;
                }
            }
            Err(why) if why.is_of_content() && count > 1 => {
                let half = count / 2;
                parts.extend([(skip + half, count - half), (skip, half)]);
            }
            Err(why) if why.is_of_content() => {
                let id = key_of(server, table, which).await?;
                unnamed = if id.is_some() { 0 } else { unnamed + 1 };
                let before = found.last_id.as_deref().or(after);
                let place = id.clone().unwrap_or_else(|| place(unnamed, before));
                found.last_id = id.clone().or(found.last_id);
                found.bad.push(UnreadableRow { id, place, why: why.to_string() });
                // The next chunk begins after a key, so go on until a key can be read.
                if parts.is_empty() && found.last_id.is_none() {
                    parts.push((skip + 1, 1));
                }
                check(&found.bad)?;
            }
            Err(why) => return Err(why),
        }
    }
    Ok(found)
}

/// Reads the rows with these ids. Names those that cannot be read.
pub async fn these(
    server: &mut CustomConnection,
    table: &ReadableTable,
    ids: &[String],
) -> Result<RowChunk, RunFailed> {
    let mut parts = vec![ids];
    let mut found = RowChunk::default();
    while let Some(part) = parts.pop() {
        match server.read_rows(table, RowSelection::These(part), false).await {
            Ok(chunk) => {
                let has_more = chunk.has_more;
                add(&mut found, chunk);
                if has_more {
                    // The caller asks for the rest after the last one.
                    found.has_more = true;
                    break;
                }
            }
            Err(why) if why.is_of_content() => {
                let (first, rest) = part.split_at(part.len() / 2);
                match part {
                    [id] => {
                        let (id, place) = (Some(id.clone()), id.clone());
                        found.last_id.clone_from(&id);
                        found.bad.push(UnreadableRow { id, place, why: why.to_string() });
                        check(&found.bad)?;
                    }
                    _ => parts.extend([rest, first]),
                }
            }
            Err(why) => return Err(why),
        }
    }
    Ok(found)
}

/// Returns the ids, among these, of rows that exist. In MySQL a key that cannot be compared with
/// the column does not exist. In PostgreSQL a row that the check fails for counts as existing.
pub async fn existing(
    server: &mut CustomConnection,
    table: &ReadableTable,
    ids: &[String],
) -> Result<Vec<String>, RunFailed> {
    let mut parts = vec![ids];
    let mut found = Vec::new();
    while let Some(part) = parts.pop() {
        match server.find_existing(table, part).await {
            Ok(there) => found.extend(there),
            Err(why) if why.is_of_content() => match part {
                [id] if server.engine() == DatabaseEngine::Postgres => found.push(id.clone()),
                [_] => {}
                _ => {
                    let (first, rest) = part.split_at(part.len() / 2);
                    parts.extend([first, rest]);
                }
            },
            Err(why) => return Err(why),
        }
    }
    Ok(found)
}

fn add(found: &mut RowChunk, more: RowChunk) {
    found.rows.extend(more.rows);
    found.bad.extend(more.bad);
    found.bytes += more.bytes;
    found.last_id = more.last_id.or_else(|| found.last_id.take());
}

fn check(bad: &[UnreadableRow]) -> Result<(), RunFailed> {
    match bad.last() {
        Some(last) if bad.len() > MOST_BAD => {
            let UnreadableRow { place, why, .. } = last;
            Err(RunFailed::new(format!(
                "more than {MOST_BAD} rows in a row cannot be read; the last is {place}: {why}"
            )))
        }
        _ => Ok(()),
    }
}

/// Returns the key of one row, if that can be read.
async fn key_of(
    server: &mut CustomConnection,
    table: &ReadableTable,
    which: RowSelection<'_>,
) -> Result<Option<String>, RunFailed> {
    match server.read_rows(table, which, true).await {
        Ok(chunk) => Ok(chunk.last_id),
        Err(failed) if failed.is_of_content() => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// Describes the position of a row with an unreadable key, relative to the last readable key.
fn place(number: usize, before: Option<&str>) -> String {
    before.map_or_else(|| format!("row {number}"), |key| format!("row {number} after {key}"))
}
