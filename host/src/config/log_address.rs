//! The address of the capture log: `nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]`.

use crate::net::http_url::read_url;
use percent_encoding::percent_decode_str;
use std::fmt;

/// Most hosts of an address.
const MOST_HOSTS: usize = 8;

/// The servers of a capture log, and the log-in that the address holds.
#[derive(Clone, PartialEq, Eq)]
pub struct LogAddress {
    /// The servers as URLs with one host each and no log-in, in the order of the address.
    pub servers: Vec<String>,
    /// A user and a password.
    pub user: Option<(String, String)>,
    /// A token: a log-in without a colon.
    pub token: Option<String>,
}

impl LogAddress {
    /// Reads an address. The error repeats nothing of the log-in.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "must begin with nats:// or tls://".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(wanted)?;
        if !matches!(scheme, "nats" | "tls") {
            return Err(wanted());
        }
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, rest),
        };
        let servers = hosts.split(',').map(|host| -> Result<String, String> {
            let url = format!("{scheme}://{host}");
            let read = read_url(&url, &["nats", "tls"])?;
            let is_bare = matches!(read.path(), "" | "/") && read.query().is_none();
            if is_bare { Ok(url) } else { Err("only hosts and ports may follow".to_owned()) }
        });
        let servers: Vec<String> = servers.collect::<Result<_, String>>()?;
        if servers.len() > MOST_HOSTS {
            return Err(format!("may name {MOST_HOSTS} hosts at most"));
        }
        let (user, token) = login.map(read_login).unwrap_or_default();
        Ok(Self { servers, user, token })
    }
}

impl fmt::Debug for LogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogAddress").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// Returns the user with the password, or the token.
fn read_login(login: &str) -> (Option<(String, String)>, Option<String>) {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match login.split_once(':') {
        Some((user, password)) => (Some((decode(user), decode(password))), None),
        None => (None, Some(decode(login))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_hosts_and_a_log_in() {
        let read = LogAddress::parse("nats://u:p%40x@a:4222,b").unwrap();
        assert_eq!(read.servers, ["nats://a:4222", "nats://b"]);
        assert_eq!(read.user, Some(("u".to_owned(), "p@x".to_owned())));
        assert!(!format!("{read:?}").contains("p@x"));
        let read = LogAddress::parse("tls://secret@[::1]:1").unwrap();
        assert_eq!((read.token.as_deref(), read.user), (Some("secret"), None));
        for wrong in ["a:4222", "http://a", "nats://", "nats://a/x", "nats://a,", "nats://a?b"] {
            assert!(LogAddress::parse(wrong).is_err(), "{wrong}");
        }
    }
}
