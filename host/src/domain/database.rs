//! What an operator sets of a source that reads a CRM's database.

use super::problem::Fault;
use super::span::Span;
use super::timing::Timing;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often the tables are read where nothing else is set.
const EVERY: Duration = Duration::from_secs(30);

/// Where a source begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Beginning {
    /// With what happens from now on.
    #[default]
    Now,
    /// With an event for each row that is there, as if it were new.
    Backfill,
}

/// What an operator sets of a source that reads a CRM's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Where it is, without the password: that is the source's `secret`.
    #[schema(example = "mysql://waybill@127.0.0.1:3306/perfex")]
    pub url: String,
    /// What the names of the tables begin with.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// The tables to read, without prefix; all that the rules know where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["invoices", "leads"]))]
    pub tables: Vec<String>,
    /// How often they are read; `30s` where neither this nor `cron` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub every: Option<Span>,
    /// When they are read, instead of `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone that the CRM's times are in; what its own settings say where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What the first run makes of what is there already.
    #[serde(default)]
    pub start: Beginning,
    /// How long the database is left alone after each thousand rows; as long as it took to read them
    /// where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pause: Option<Span>,
}

fn prefix() -> String {
    "tbl".to_owned()
}

impl DatabaseSettings {
    /// What is wrong with it, if anything; which tables there are is not known here.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.timing().err().into_iter().collect();
        faults.extend(check_url(&self.url).err());
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !self.prefix.chars().all(fits) || self.prefix.len() > 32 {
            faults.push(Fault::new("prefix", "at most 32 letters, digits and `_`"));
        }
        faults
    }

    /// When it runs.
    pub fn timing(&self) -> Result<Timing, Fault> {
        Timing::read(self.every, self.cron.as_deref(), self.time_zone.as_deref(), EVERY)
    }
}

fn check_url(url: &str) -> Result<(), Fault> {
    let fault = |message: &str| Err(Fault::new("url", message));
    let example = "write it as `mysql://USER@HOST:3306/DATABASE`";
    let Some((scheme, rest)) = url.split_once("://") else { return fault(example) };
    if !["mysql", "mariadb"].contains(&scheme) {
        return fault(&format!("{example}; the CRM's tables are in MySQL or MariaDB"));
    }
    let Some((user, place)) = rest.rsplit_once('@') else {
        return fault(&format!("it names no user; {example}"));
    };
    if user.contains(':') {
        return fault(
            "a password does not belong in an address that is shown; give it as `secret`",
        );
    }
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let Some((address, database)) = place.split_once('/') else { return fault(example) };
    let named = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.$%[]:".contains(c))
    };
    let port = address.rsplit_once(':').filter(|_| !address.ends_with(']'));
    if ![user, address, database].into_iter().all(named)
        || port.is_some_and(|(_, port)| port.parse::<u16>().is_err())
    {
        return fault(example);
    }
    // Others name files of this machine, or go into a statement as they are.
    let is_mode = |pair: &str| pair.strip_prefix("ssl-mode=").is_some_and(|m| MODES.contains(&m));
    if !query.is_empty() && !is_mode(query) {
        return fault(&format!("only `?ssl-mode=` may stand behind it, with {}", MODES.join(", ")));
    }
    Ok(())
}

/// How the connection is encrypted.
const MODES: [&str; 5] = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"];

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
        assert!(why("postgres://u@db/perfex").contains("MySQL or MariaDB"));
        assert!(why("mysql://u@db").contains("write it as"));
        assert!(why("perfex").contains("write it as"));
        assert!(why("mysql://u@h:999999/db").contains("write it as"));
        assert!(check_url("mysql://u@[::1]:3306/db").is_ok());
        for query in
            ["charset=utf8mb4;DROP TABLE x", "socket=/etc/passwd", "password=x", "ssl-mode=x"]
        {
            assert!(
                why(&format!("mysql://u@h/db?{query}")).contains("only `?ssl-mode=`"),
                "{query}"
            );
        }
    }
}
