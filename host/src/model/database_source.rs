//! Settings of a source that reads a database: a CRM's tables, or tables that the settings name.

use super::timing::SourceTiming;
use crate::model::custom_table;
use crate::model::custom_table::OwnTable;
use crate::model::fault::InputFault;
use crate::time::span::TimeSpan;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Default interval between two runs.
const EVERY: Duration = Duration::from_secs(30);

/// The treatment of existing rows in the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Beginning)]
pub enum BackfillStart {
    /// Makes no events of them. Events begin with changes from now on.
    #[default]
    Now,
    /// Makes an event of each row, as if it were new.
    Backfill,
}

/// The kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseEngine {
    /// MySQL or MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgres,
}

impl DatabaseEngine {
    fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "mysql" | "mariadb" => Some(Self::Mysql),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }

    /// Returns the only parameter that a URL may have, with its values. Other parameters would name
    /// files of this machine or be put into a statement unchecked.
    const fn encryption(self) -> (&'static str, [&'static str; 5]) {
        match self {
            Self::Mysql => {
                ("ssl-mode", ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
            }
            Self::Postgres => {
                ("sslmode", ["disable", "prefer", "require", "verify-ca", "verify-full"])
            }
        }
    }
}

/// The settings of a source that reads a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The address of the database, without the password. The password is the source's `secret`.
    #[schema(example = "mysql://waybill@127.0.0.1:3306/perfex")]
    pub url: String,
    /// The prefix of the CRM's table names.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// The CRM's tables to read, without the prefix. If left out, all tables that Waybill has rules
    /// for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["invoices", "leads"]))]
    pub tables: Vec<String>,
    /// Tables to read that are not the CRM's, in PostgreSQL, MySQL or MariaDB: names such as
    /// `orders`, or objects. If set, none of the CRM's tables are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_tables: Vec<OwnTable>,
    /// Interval at which the tables are read. If neither this nor `cron` is set, `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub every: Option<TimeSpan>,
    /// The times at which the tables are read, instead of `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of the CRM's times. If left out, the one in the CRM's own settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Treatment of existing rows in the first run.
    #[serde(default)]
    pub start: BackfillStart,
    /// The pause after each thousand rows. If left out, as long as reading them took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pause: Option<TimeSpan>,
}

fn prefix() -> String {
    "tbl".to_owned()
}

impl DatabaseSettings {
    /// Returns the faults of the settings. Whether the tables exist is not checked here.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults: Vec<InputFault> = self.timing().err().into_iter().collect();
        faults.extend(self.check_url().err());
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !self.prefix.chars().all(fits) || self.prefix.len() > 32 {
            faults.push(InputFault::new("prefix", "at most 32 letters, digits and `_`"));
        }
        if !self.own_tables.is_empty() {
            let message = "applies to the CRM's tables, which are not read if `own_tables` is set";
            let is_set = [("tables", !self.tables.is_empty()), ("prefix", self.prefix != prefix())];
            let set = is_set.into_iter().filter(|(_, is_set)| *is_set);
            faults.extend(set.map(|(field, _)| InputFault::new(field, message)));
        }
        faults.extend(custom_table::check_tables(&self.own_tables));
        faults
    }

    fn check_url(&self) -> Result<(), InputFault> {
        if check_url(&self.url)? == DatabaseEngine::Postgres && self.own_tables.is_empty() {
            let message = "the CRM's tables are in MySQL or MariaDB; name tables of PostgreSQL in `own_tables`";
            return Err(InputFault::new("url", message));
        }
        Ok(())
    }

    /// Returns the kind of server that the URL names.
    pub fn engine(&self) -> DatabaseEngine {
        let scheme = self.url.split_once("://").and_then(|(scheme, _)| DatabaseEngine::of(scheme));
        scheme.unwrap_or(DatabaseEngine::Mysql)
    }

    /// Returns when the source runs.
    pub fn timing(&self) -> Result<SourceTiming, InputFault> {
        SourceTiming::read(self.every, self.cron.as_deref(), self.time_zone.as_deref(), EVERY)
    }
}

fn check_url(url: &str) -> Result<DatabaseEngine, InputFault> {
    let fault = |message: &str| Err(InputFault::new("url", message));
    let example =
        "write it as `mysql://USER@HOST:3306/DATABASE` or `postgres://USER@HOST:5432/DATABASE`";
    let Some((scheme, rest)) = url.split_once("://") else { return fault(example) };
    let Some(engine) = DatabaseEngine::of(scheme) else { return fault(example) };
    let Some((user, place)) = rest.rsplit_once('@') else {
        return fault(&format!("the address has no user; {example}"));
    };
    if user.contains(':') {
        return fault(
            "the address must not contain the password, because it is shown; set the password as `secret`",
        );
    }
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let Some((address, database)) = place.split_once('/') else { return fault(example) };
    let named = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.$%[]:".contains(c))
    };
    let port = address.rsplit_once(':').filter(|_| !address.ends_with(']'));
    if ![user, address, database].into_iter().all(named)
        // Libraries read an encoded host as the path of a socket.
        || address.contains('%')
        || port.is_some_and(|(_, port)| port.parse::<u16>().is_err())
    {
        return fault(example);
    }
    let (name, modes) = engine.encryption();
    let is_mode = |(key, mode): (&str, &str)| key == name && modes.contains(&mode);
    if !query.is_empty() && !query.split_once('=').is_some_and(is_mode) {
        return fault(&format!(
            "the only parameter allowed is `?{name}=`, with {}",
            modes.join(", ")
        ));
    }
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_user_a_host_and_a_database_and_no_password() {
        assert!(check_url("mysql://waybill@127.0.0.1:3306/perfex").is_ok());
        assert!(check_url("mariadb://waybill@db/perfex?ssl-mode=REQUIRED").is_ok());
        let why = |url: &str| check_url(url).unwrap_err().message;
        assert!(why("mysql://waybill:s3cret@db/perfex").contains("`secret`"));
        assert!(!why("mysql://waybill:s3cret@db/perfex").contains("s3cret"));
        assert!(why("mysql://db/perfex").contains("no user"));
        assert!(why("oracle://u@db/perfex").contains("write it as"));
        assert!(why("mysql://u@db").contains("write it as"));
        assert!(why("perfex").contains("write it as"));
        assert!(why("mysql://u@h:999999/db").contains("write it as"));
        assert!(why("postgres://u@%2Fvar%2Frun/db").contains("write it as"));
        assert!(check_url("mysql://u@[::1]:3306/db").is_ok());
        assert_eq!(
            check_url("postgresql://u@h:5432/db?sslmode=verify-full"),
            Ok(DatabaseEngine::Postgres)
        );
        assert!(
            why("postgres://u@h/db?ssl-mode=REQUIRED")
                .contains("only parameter allowed is `?sslmode=`")
        );
        assert!(why("postgres://u@h/db?sslmode=require&sslrootcert=/x").contains("only"));
        for query in
            ["charset=utf8mb4;DROP TABLE x", "socket=/etc/passwd", "password=x", "ssl-mode=x"]
        {
            assert!(
                why(&format!("mysql://u@h/db?{query}"))
                    .contains("only parameter allowed is `?ssl-mode=`"),
                "{query}"
            );
        }
    }
    fn faults(more: &serde_json::Value) -> Vec<(String, String)> {
        let mut settings = serde_json::json!({"url": "mysql://u@h/db"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: DatabaseSettings = serde_json::from_value(settings).unwrap();
        settings.check().into_iter().map(|fault| (fault.path, fault.message)).collect()
    }

    #[test]
    fn a_source_reads_the_tables_of_a_crm_or_its_own() {
        use serde_json::json;
        let postgres = "postgres://u@h/db";
        assert_eq!(faults(&json!({"own_tables": ["orders"]})), []);
        assert_eq!(faults(&json!({"url": postgres, "own_tables": ["orders"]})), []);
        let found = faults(&json!({"url": postgres}));
        assert!(found[0].0 == "url" && found[0].1.contains("own_tables"), "{found:?}");
        let mixed = json!({"own_tables": ["orders", ""], "tables": ["leads"], "prefix": "x_"});
        let places: Vec<String> = faults(&mixed).into_iter().map(|(path, _)| path).collect();
        assert_eq!(places, ["tables", "prefix", "own_tables[1].table"]);
    }
}
