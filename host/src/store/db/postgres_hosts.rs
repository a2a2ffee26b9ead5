//! The servers that a URL names. One of them is used at a time.
//!
//! New connections go to one host as long as it provides suitable ones. Otherwise the other hosts
//! are tried in the order of the URL, and the first suitable one is used from then on.

use super::postgres_address::{PostgresAddress, SessionTarget};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Time that a host has to answer before the next one is tried.
const LONGEST_TRIAL: Duration = Duration::from_secs(1);
/// Pause between two trials. A pool that is merely busy also starts a trial.
const TRIAL_PAUSE: Duration = Duration::from_millis(500);
/// Stands for no host.
const NONE: usize = usize::MAX;

/// The servers of a database.
pub struct PostgresHosts {
    hosts: Vec<PgConnectOptions>,
    target: SessionTarget,
    /// Index of the host to which new connections go.
    current: AtomicUsize,
    /// Time of the last trial. Locked during a trial.
    tried_at: tokio::sync::Mutex<Option<Instant>>,
    /// Time at which a server was last found to have stopped accepting writes.
    demoted_at: Mutex<Option<Instant>>,
}

impl fmt::Debug for PostgresHosts {
    /// Leaves out the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresHosts").finish_non_exhaustive()
    }
}

impl PostgresHosts {
    pub fn new(address: PostgresAddress) -> Self {
        Self {
            hosts: address.hosts,
            target: address.target,
            current: AtomicUsize::new(NONE),
            tried_at: tokio::sync::Mutex::default(),
            demoted_at: Mutex::default(),
        }
    }

    /// Returns the host if the URL names only one.
    pub fn only_host(&self) -> Option<&PgConnectOptions> {
        if let [host] = self.hosts.as_slice() { Some(host) } else { None }
    }

    /// Returns the host that the URL names first.
    pub fn first_host(&self) -> Option<&PgConnectOptions> {
        self.hosts.first()
    }

    pub const fn target(&self) -> SessionTarget {
        self.target
    }

    /// Tries the present host, then the others in the order of the URL. Returns the first suitable
    /// host unless it is the present one. Returns `None` during another trial and shortly after
    /// one.
    pub async fn find_another(&self) -> Option<&PgConnectOptions> {
        let mut tried_at = self.tried_at.try_lock().ok()?;
        if tried_at.is_some_and(|tried_at| tried_at.elapsed() < TRIAL_PAUSE) {
            return None;
        }
        let mut refusals = Vec::new();
        for (place, host) in self.present_first() {
            let name = format!("{}:{}", host.get_host(), host.get_port());
            match timeout(LONGEST_TRIAL, Box::pin(self.try_host(host))).await {
                Ok(Ok(())) => {
                    *tried_at = Some(Instant::now());
                    let is_another = self.current.swap(place, Ordering::Relaxed) != place;
                    if is_another {
                        tracing::info!(host = name, "connecting to this host of the database");
                    }
                    return is_another.then_some(host);
                }
                Ok(Err(error)) => refusals.push(format!("{name}: {error}")),
                Err(_elapsed) => refusals.push(format!("{name}: no answer within a second")),
            }
        }
        *tried_at = Some(Instant::now());
        tracing::warn!(hosts = refusals.join("; "), "no host of the database can be used");
        None
    }

    fn present_first(&self) -> impl Iterator<Item = (usize, &PgConnectOptions)> {
        let present = self.current.load(Ordering::Relaxed);
        let hosts = || self.hosts.iter().enumerate();
        let others = hosts().filter(move |(place, _)| *place != present);
        hosts().filter(move |(place, _)| *place == present).chain(others)
    }

    async fn try_host(&self, host: &PgConnectOptions) -> Result<(), sqlx::Error> {
        let mut db = host.connect().await?;
        check_session(&mut db, self.target).await?;
        db.close().await
    }

    /// Records that a server no longer accepts writes. All earlier connections may go to that
    /// server. Does nothing with one host, because there is no alternative.
    pub fn note_demotion(&self) {
        if self.only_host().is_none() {
            let mut demoted_at = self.demoted_at.lock().unwrap_or_else(PoisonError::into_inner);
            *demoted_at = Some(Instant::now());
        }
    }

    /// Returns whether a connection of this age was made after the last server was found demoted.
    pub fn is_sound(&self, age: Duration) -> bool {
        let demoted_at = *self.demoted_at.lock().unwrap_or_else(PoisonError::into_inner);
        demoted_at.is_none_or(|demoted_at| age <= demoted_at.elapsed())
    }
}

/// Fails if the server is not suitable. Asks without a prepared statement, which a pooler may not
/// support.
pub async fn check_session(
    db: &mut PgConnection,
    target: SessionTarget,
) -> Result<(), sqlx::Error> {
    let question = match target {
        SessionTarget::Any => return Ok(()),
        SessionTarget::ReadWrite => "SELECT current_setting('transaction_read_only') = 'off'",
        SessionTarget::Primary => "SELECT NOT pg_is_in_recovery()",
    };
    let row = sqlx::raw_sql(question).fetch_one(db).await?;
    if row.try_get::<bool, _>(0)? { Ok(()) } else { Err(no_writes()) }
}

fn no_writes() -> sqlx::Error {
    sqlx::Error::Configuration(
        "the server does not accept writes; it is a standby or read-only".into(),
    )
}

/// Returns the error for several hosts of which none can be used.
pub fn no_host() -> sqlx::Error {
    sqlx::Error::Configuration(
        "none of the hosts in database.url answers and accepts writes; the log has the result for each"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_made_before_a_demotion_are_not_sound() {
        let address = PostgresAddress::parse("postgres://h1,h2/db").unwrap();
        let hosts = PostgresHosts::new(address);
        let old = Duration::from_hours(1);
        assert!(hosts.is_sound(old));
        hosts.note_demotion();
        assert!(!hosts.is_sound(old));
        assert!(hosts.is_sound(Duration::ZERO));
    }

    #[test]
    fn a_host_that_stands_alone_is_never_demoted() {
        let hosts = PostgresHosts::new(PostgresAddress::parse("postgres://h1/db").unwrap());
        hosts.note_demotion();
        assert!(hosts.is_sound(Duration::from_hours(1)));
    }
}
