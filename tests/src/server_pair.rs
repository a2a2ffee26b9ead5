//! A PostgreSQL server and its standby.

use anyhow::Result;

use crate::{Cluster, Database};

/// A server and its standby. Every commit is on both before it is acknowledged.
#[derive(Debug)]
pub struct ServerPair {
    /// The server that accepts writes at first.
    pub primary: Cluster,
    /// The server that follows it.
    pub standby: Cluster,
}

impl ServerPair {
    /// Starts both. Fails if PostgreSQL is not installed.
    pub async fn start() -> Result<Self> {
        let primary = Cluster::start_unsynced()?;
        let standby = Cluster::start_standby(&primary)?;
        let pair = Self { primary, standby };
        pair.set_primary("SET synchronous_standby_names = '*'").await?;
        Ok(pair)
    }

    /// Returns the URL of both servers, the standby first.
    pub fn url(&self) -> String {
        let (primary, standby) = (self.primary.url("postgres"), self.standby.url("postgres"));
        let (_, primary) = primary.split_once('@').unwrap_or_default();
        let (standby, _) = standby.rsplit_once('/').unwrap_or_default();
        format!("{standby},{primary}")
    }

    /// Makes the standby accept writes.
    pub async fn promote(&self) -> Result<()> {
        Database::run(&self.standby.url("postgres"), "SELECT pg_promote()").await
    }

    /// Changes a setting of the running primary.
    pub async fn set_primary(&self, change: &str) -> Result<()> {
        let url = self.primary.url("postgres");
        Database::run(&url, &format!("ALTER SYSTEM {change}")).await?;
        Database::run(&url, "SELECT pg_reload_conf()").await
    }
}
