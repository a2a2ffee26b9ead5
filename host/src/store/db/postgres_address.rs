//! Parses the URL of a PostgreSQL database, which may name several servers.
//!
//! The syntax is that of libpq (PostgreSQL's manual, "Connection URIs"): the hosts are separated by
//! commas, each with its own port. An error names the position of the invalid part. It does not
//! repeat any part of the URL, because a password that is not escaped may look like a port.

use crate::store::StoreError;
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::str::FromStr as _;

/// Largest number of hosts in a URL. All are tried in turn, a second each.
const MOST_HOSTS: usize = 8;

/// The kind of server to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionTarget {
    /// The first server that answers.
    Any,
    /// The first server that accepts writes.
    ReadWrite,
    /// The first server that is not a standby.
    Primary,
}

/// Lifetime of settings and prepared statements on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionScope {
    /// As long as the connection.
    Connection,
    /// For one transaction, because a pooler may use another session for the next one.
    Transaction,
}

impl SessionScope {
    /// Returns whether a prepared statement still exists in the next transaction.
    pub const fn keeps_statements(self) -> bool {
        match self {
            Self::Connection => true,
            Self::Transaction => false,
        }
    }

    /// Parses a value of `pgbouncer`.
    fn parse(value: &str) -> Result<Self, String> {
        match value {
            "true" => Ok(Self::Transaction),
            "false" => Ok(Self::Connection),
            _ => Err("pgbouncer must be true or false".to_owned()),
        }
    }
}

impl SessionTarget {
    /// Parses a value of `target_session_attrs`.
    fn parse(value: &str) -> Result<Self, String> {
        match value {
            "any" => Ok(Self::Any),
            "read-write" => Ok(Self::ReadWrite),
            "primary" => Ok(Self::Primary),
            _ => Err("target_session_attrs must be read-write, primary or any, because Waybill \
                      writes"
                .to_owned()),
        }
    }
}

/// The servers of a PostgreSQL database, and how to use them.
pub struct PostgresAddress {
    /// Options for connecting to each host, in the order of the URL. Has at least one entry.
    pub hosts: Vec<PgConnectOptions>,
    pub target: SessionTarget,
    pub scope: SessionScope,
}

#[derive(Debug, Default)]
struct UrlParameters<'u> {
    target: Option<SessionTarget>,
    scope: Option<SessionScope>,
    /// The parameters that the driver reads.
    others: Vec<&'u str>,
}

impl<'u> UrlParameters<'u> {
    fn parse(query: &'u str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "target_session_attrs" => parameters.target = Some(SessionTarget::parse(value)?),
                "pgbouncer" => parameters.scope = Some(SessionScope::parse(value)?),
                "host" | "hostaddr" | "port" if value.contains(',') || value.contains("%2C") => {
                    return Err(format!(
                        "several hosts stand before the name of the database, not in `{name}`: \
                         postgres://USER@HOST1:5432,HOST2:5432/NAME"
                    ));
                }
                _ => parameters.others.push(parameter),
            }
        }
        Ok(parameters)
    }

    fn query(&self) -> String {
        if self.others.is_empty() { String::new() } else { format!("?{}", self.others.join("&")) }
    }
}

impl fmt::Debug for PostgresAddress {
    /// Leaves out the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAddress").finish_non_exhaustive()
    }
}

impl PostgresAddress {
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        read_address(url).map_err(|why| StoreError::WrongUrl { why })
    }
}

fn read_address(url: &str) -> Result<PostgresAddress, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it does not begin with postgres://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let parameters = UrlParameters::parse(query)?;
    let query = parameters.query();
    let hosts: Vec<&str> = hosts.split(',').collect();
    let count = hosts.len();
    if count > MOST_HOSTS {
        return Err(format!("it names {count} hosts; at most {MOST_HOSTS} are allowed"));
    }
    let connect_options = |(place, host): (usize, &str)| {
        check_host(host, place + 1, count == 1)?;
        let one = format!("{scheme}://{login}{host}{path}{query}");
        PgConnectOptions::from_str(&one).map_err(|error| error.to_string())
    };
    let hosts = hosts.into_iter().enumerate().map(connect_options).collect::<Result<_, _>>()?;
    let usual = if count == 1 { SessionTarget::Any } else { SessionTarget::ReadWrite };
    Ok(PostgresAddress {
        hosts,
        target: parameters.target.unwrap_or(usual),
        scope: parameters.scope.unwrap_or(SessionScope::Connection),
    })
}

/// Checks a host and its port. Only a single host may be empty: the driver then uses the
/// environment, or a local socket.
fn check_host(host: &str, place: usize, is_alone: bool) -> Result<(), String> {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address are in brackets.
        Some((name, port)) if !port.contains(']') => (name, port),
        Some(_) | None => (host, ""),
    };
    if name.is_empty() && !is_alone {
        return Err(format!("host {place} has no name"));
    }
    if name.contains(':') && !name.starts_with('[') {
        return Err(format!(
            "host {place} has too many colons: write an IPv6 address in brackets, and escape `/`, \
             `?`, `#` and `@` in a password (%2F, %3F, %23, %40)"
        ));
    }
    if port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Ok(());
    }
    Err(format!(
        "the port of host {place} is not a number from 1 to 65535; a password needs `/`, `?`, `#` \
         and `@` escaped (%2F, %3F, %23, %40)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<(String, u16)> {
        let address = PostgresAddress::parse(url).unwrap();
        let hosts = address.hosts.iter();
        hosts.map(|host| (host.get_host().to_owned(), host.get_port())).collect()
    }

    fn refusal(url: &str) -> String {
        PostgresAddress::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn hosts_are_read_as_libpq_reads_them() {
        let two = "postgres://me:p%40ss@h1:5433,h2.example/db?sslmode=disable";
        assert_eq!(hosts(two), [("h1".to_owned(), 5433), ("h2.example".to_owned(), 5432)]);
        for host in PostgresAddress::parse(two).unwrap().hosts {
            assert_eq!((host.get_username(), host.get_database()), ("me", Some("db")));
        }
        assert_eq!(hosts("postgresql://h1:,[::1]:5434/db").len(), 2);
        assert_eq!(hosts("postgres://h1/db"), [("h1".to_owned(), 5432)]);
        assert_eq!(hosts("postgres:///db").len(), 1);
    }

    #[test]
    fn several_hosts_are_asked_whether_they_take_writes() {
        let target = |url| PostgresAddress::parse(url).unwrap().target;
        assert_eq!(target("postgres://h1/db"), SessionTarget::Any);
        assert_eq!(target("postgres://h1,h2/db"), SessionTarget::ReadWrite);
        let read_write = "postgres://h1/db?sslmode=disable&target_session_attrs=read-write";
        assert_eq!(target(read_write), SessionTarget::ReadWrite);
        let primary = "postgres://h1,h2/db?target_session_attrs=primary";
        assert_eq!(target(primary), SessionTarget::Primary);
        let any = "postgres://h1,h2/db?target_session_attrs=any&sslmode=disable";
        assert_eq!(target(any), SessionTarget::Any);
    }

    #[test]
    fn a_pooler_is_named_by_a_parameter() {
        let scope = |url| PostgresAddress::parse(url).unwrap().scope;
        assert_eq!(scope("postgres://h1/db"), SessionScope::Connection);
        assert_eq!(scope("postgres://h1/db?pgbouncer=false"), SessionScope::Connection);
        assert_eq!(scope("postgres://h1,h2/db?pgbouncer=true"), SessionScope::Transaction);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let nine = format!("postgres://{}/db", ["h"; 9].join(","));
        for (url, expected) in [
            ("postgres://h1:5432,h2:54x/db", "the port of host 2 is not a number"),
            ("postgres://h1:0,h2/db", "the port of host 1 is not a number"),
            ("postgres://h1,,h3/db", "host 2 has no name"),
            ("postgres://h1,h2,/db", "host 3 has no name"),
            ("postgres://::1,h2/db", "host 1 has too many colons"),
            ("postgres://h1,h2/db?target_session_attrs=standby", "target_session_attrs must be"),
            ("postgres://h1/db?pgbouncer=yes", "pgbouncer must be true or false"),
            ("postgres:///db?host=h1,h2", "not in `host`"),
            (nine.as_str(), "it names 9 hosts; at most 8 are allowed"),
        ] {
            let said = refusal(url);
            assert!(said.contains(expected), "{url}: {said}");
        }
    }

    #[test]
    fn no_part_of_a_password_is_shown() {
        for url in [
            "postgres://me:hunter2@h1:x,h2/db",
            "postgres://me:hunter2/x@h1,h2/db",
            "postgres://me:hunter2?x@h1/db",
            "postgres://me:hunter2@h1,h2/db?sslmode=never",
            "postgres://me:hunter2@h1,h 2/db",
        ] {
            let said = refusal(url);
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
