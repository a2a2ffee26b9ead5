//! Finds the stored rows of a record that is to be erased.
//!
//! The content is removed and the hash stays. So the next run does not take the row for a new one
//! and capture it again. The next change of the row is captured without the old values, because
//! there is nothing left to compare with.
//!
//! A list or table that was removed from a source's settings is not read any more, but its rows are
//! still stored. Nothing tells which resource they were, so the row with the record's key is erased
//! in each of them.

use super::letters::list_name;
use super::{database, poll, rows};
use crate::model::source::Source;
use crate::store::erase::KeptPlace;
use serde_json::Value;

/// Returns the rows that a source may have stored of a record.
pub fn kept_places(source: &Source, resource: &str, resource_id: &str) -> Vec<KeptPlace> {
    let place = |list, is_whole, instead| place_in(source, list, is_whole, resource_id, instead);
    let settings = &source.settings;
    let mut places = Vec::new();
    if let Some(polled) = &settings.poll {
        let lists = poll::lists_of(polled, resource);
        places.extend(lists.into_iter().map(|list| place(list, true, String::new())));
    }
    if let Some(read) = &settings.database {
        let tables = database::tables_of(resource);
        places.extend(tables.map(|table| place(table.to_owned(), true, String::new())));
        // A row of a custom table keeps its key, which is needed to notice that it was deleted.
        let own = database::own_lists_of(read, resource);
        places.extend(own.into_iter().map(|list| place(list, false, key_cells(resource_id))));
    }
    places
}

/// Returns the rows with this key in stored lists that the source does not read any more.
pub fn abandoned_places(source: &Source, kept: &[String], resource_id: &str) -> Vec<KeptPlace> {
    let abandoned = kept.iter().filter(|list| !is_read(source, list));
    let place = |list: &String| {
        let instead =
            if database::is_own_list(list) { key_cells(resource_id) } else { String::new() };
        place_in(source, list.clone(), true, resource_id, instead)
    };
    abandoned.map(place).collect()
}

/// Whether the source reads the list whose rows are stored under this name.
fn is_read(source: &Source, list: &str) -> bool {
    let settings = &source.settings;
    settings.poll.as_ref().is_some_and(|polled| poll::reads_list(polled, list))
        || settings.database.as_ref().is_some_and(|read| database::reads_list(read, list))
}

fn place_in(
    source: &Source,
    list: String,
    is_whole: bool,
    resource_id: &str,
    instead: String,
) -> KeptPlace {
    let (shown_list, key) = (list_name(&list).to_owned(), rows::number(resource_id));
    KeptPlace { source: source.id, list, is_whole, shown_list, key, instead }
}

/// Returns what is stored of a row of which only the key is known. A text such as `007` stays a
/// text, because the number 7 is the key of another row.
fn key_cells(resource_id: &str) -> String {
    let number = resource_id.parse::<i64>().ok();
    let number = number.filter(|number| number.to_string() == resource_id);
    number.map_or_else(|| Value::from(resource_id), Value::from).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_erased_row_is_kept_as_it_was() {
        for (id, wanted) in
            [("7", "7"), ("-7", "-7"), ("9223372036854775807", "9223372036854775807")]
        {
            assert_eq!(key_cells(id), wanted);
        }
        for text in ["007", "+7", "-0", "7.0", "a\"b", "9223372036854775808"] {
            assert_eq!(key_cells(text), Value::from(text).to_string());
        }
    }
}
