//! The SQL statements of the store. Both databases use the same text. Where they differ there is a
//! pair named `…_SQLITE` and `…_POSTGRES`.
//!
//! Each file holds the statements of one subject. Statements over many rows are in [`bulks`].
//! Parameters are `$n`, and callers bind all times: only one statement asks the database for the
//! time. A test prepares every statement on both databases.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*

        /// All statements of this file, for the test that prepares each.
        #[cfg(test)]
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

mod alerts;
pub mod bulks;
mod calls;
mod completeness;
mod dead_letters;
mod deliveries;
mod delivery_claims;
mod erase;
mod events;
mod modules;
mod nodes;
mod overviews;
mod plannings;
mod prune;
mod records;
mod settings;
mod sources;
mod windows;

pub use alerts::*;
pub use bulks::*;
pub use calls::*;
pub use completeness::*;
pub use dead_letters::*;
pub use deliveries::*;
pub use delivery_claims::*;
pub use erase::*;
pub use events::*;
pub use modules::*;
pub use nodes::*;
pub use overviews::*;
pub use plannings::*;
pub use prune::*;
pub use records::*;
pub use settings::*;
pub use sources::*;
pub use windows::*;

/// The statements of every file that declares them with `statements!`.
#[cfg(test)]
pub const ALL: &[&[(&str, &str)]] = &[
    alerts::ALL,
    calls::ALL,
    completeness::ALL,
    dead_letters::ALL,
    deliveries::ALL,
    delivery_claims::ALL,
    erase::ALL,
    events::ALL,
    modules::ALL,
    nodes::ALL,
    overviews::ALL,
    plannings::ALL,
    prune::ALL,
    records::ALL,
    settings::ALL,
    sources::ALL,
    windows::ALL,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::DeliveryStatus;
    use crate::store::StoreOpening;
    use crate::store::db::pool::tests::postgres_url;
    use crate::store::db::{DatabasePool, sqlite_connection};
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

    /// Returns every statement that has one text.
    fn every_plain() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        ALL.iter().copied().flatten()
    }

    /// A file that is not in [`ALL`] would escape the tests below.
    #[test]
    fn every_file_of_statements_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/statements");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let declares = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).unwrap().contains("\nstatements! {")
        };
        assert_eq!(files.filter(declares).count(), ALL.len());
    }

    #[tokio::test]
    async fn every_statement_prepares_on_sqlite() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("w.db");
        let url = format!("sqlite:{}", path.display());
        let _pool = DatabasePool::open(&url, StoreOpening::default()).await.unwrap();
        let db = sqlite_connection::open_reader(&path).unwrap();
        let plain = every_plain().filter(|(name, _)| !name.ends_with("_POSTGRES"));
        let plain = plain.map(|(name, text)| (*name, (*text).to_owned()));
        let bulks = BULKS.iter().map(|(name, bulk)| (*name, bulk.one.clone()));
        for (name, text) in plain.chain(bulks) {
            let prepared = db.prepare(&text);
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }

    /// Sorting a table would read all of it.
    #[tokio::test]
    async fn readiness_sorts_no_table() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("w.db");
        let url = format!("sqlite:{}", path.display());
        let _pool = DatabasePool::open(&url, StoreOpening::default()).await.unwrap();
        let db = sqlite_connection::open_reader(&path).unwrap();
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {READ_NEWEST}")).unwrap();
        let steps = explain.query_map([], |row| row.get::<_, String>("detail")).unwrap();
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        assert!(
            !steps.is_empty() && steps.iter().all(|step| !step.contains("B-TREE")),
            "{steps:?}"
        );
    }

    #[tokio::test]
    async fn every_statement_prepares_on_postgresql() {
        let Some(url) = postgres_url().await else { return };
        let _pool = DatabasePool::open(&url, StoreOpening::default()).await.unwrap();
        let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
        let plain = every_plain().filter(|(name, _)| !name.ends_with("_SQLITE"));
        let plain = plain.map(|(name, text)| (*name, (*text).to_owned()));
        let bulks = BULKS.iter().map(|(name, bulk)| (*name, bulk.all.clone()));
        let capture = ("CAPTURE_POSTGRES", CAPTURE_POSTGRES.text.clone());
        for (name, text) in plain.chain(bulks).chain([capture]) {
            let prepared = db.prepare(AssertSqlSafe(text).into_sql_str()).await;
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }

    /// A delivery's status is a number in the table. Each statement has the meaning of the number
    /// in a comment next to it.
    #[test]
    fn every_status_in_a_statement_is_named() {
        let statuses = [
            DeliveryStatus::Pending,
            DeliveryStatus::Leased,
            DeliveryStatus::Delivered,
            DeliveryStatus::Dead,
            DeliveryStatus::Superseded,
            DeliveryStatus::Cancelled,
        ];
        let named = |status: DeliveryStatus| format!("{} /* {} */", status.code(), status.as_str());
        let named: Vec<String> = statuses.into_iter().map(named).collect();
        let plain = every_plain().map(|(name, text)| (*name, (*text).to_owned()));
        let bulks = BULKS.iter().map(|(name, bulk)| (*name, bulk.one.clone()));
        for (name, text) in plain.chain(bulks) {
            for place in text.split("status = ").skip(1) {
                let is_number = place.starts_with(|c: char| c.is_ascii_digit());
                let is_named = named.iter().any(|status| place.starts_with(status.as_str()));
                assert!(!is_number || is_named, "{name}: status = {place}");
            }
        }
    }
}
