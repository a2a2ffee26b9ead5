//! Shortens ids in tables to the prefix of the kind and the end of the id.
//!
//! An id begins with its time, so neighbours in a list have the same first characters and differ at
//! the end.

use uuid::Uuid;

/// Smallest number of characters that are shown of the end.
const LEAST: usize = 8;
/// Number of characters after the last hyphen of an id. Ids that need more stay whole.
const MOST: usize = 12;

/// Splits an id into the prefix of its kind, such as `evt_`, and the rest. Returns `None` for any
/// other text.
pub fn split_id(text: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = text.split_at_checked(text.find('_')? + 1)?;
    (rest.len() == 36 && Uuid::try_parse(rest).is_ok()).then_some((prefix, rest))
}

/// Shortens the ids of one list as far as they stay distinct.
pub fn shorten_ids(ids: &[String]) -> Vec<String> {
    let ending = |id: &str, length: usize| {
        let (prefix, rest) = split_id(id)?;
        Some(format!("{prefix}{}", rest.get(rest.len() - length..)?))
    };
    let shortened = |length: usize| -> Vec<String> {
        ids.iter().map(|id| ending(id, length).unwrap_or_else(|| id.clone())).collect()
    };
    let count_distinct =
        |list: &[String]| list.iter().collect::<std::collections::HashSet<_>>().len();
    let distinct = count_distinct(ids);
    let mut lengths = (LEAST..=MOST).map(shortened);
    lengths.find(|short| count_distinct(short) == distinct).unwrap_or_else(|| ids.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorten(ids: &[&str]) -> Vec<String> {
        shorten_ids(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_end_is_shown_as_far_as_it_is_needed() {
        let [one, two, three] = [
            "evt_01999c2e-7a10-7001-8000-1234aabbccdd",
            "evt_01999c2e-7a10-7002-8000-1234eebbccdd",
            "evt_01999c2e-7a10-7003-8000-1235aabbccdd",
        ];
        assert_eq!(shorten(&[one, two]), ["evt_aabbccdd", "evt_eebbccdd"]);
        assert_eq!(shorten(&[one, three]), ["evt_4aabbccdd", "evt_5aabbccdd"]);
        assert_eq!(shorten(&[one, one]), ["evt_aabbccdd", "evt_aabbccdd"]);
        let same_end = "evt_01999c2e-7a10-7009-8000-1234aabbccdd";
        assert_eq!(shorten(&[one, same_end]), [one, same_end]);
        assert_eq!(shorten(&["a1f3", "evt_x"]), ["a1f3", "evt_x"]);
    }
}
