//! The two databases. No other code names their drivers.
//!
//! ```text
//!   SQLite      transact ──► one thread, one connection, one transaction at a time
//!               fetch_…  ──► up to four read-only connections
//!   PostgreSQL  transact ──► a pool for writing
//!               fetch_…  ──► a pool for reading
//!               listen_… ──► one connection that receives notices of other nodes
//! ```
//!
//! A caller passes a [`SqlQuery`], or a closure that runs several in one [`WriteTransaction`], and
//! does not know which database answers. This folder does not know any operation of the store.

pub mod backup;
pub mod bound_value;
pub mod bulk;
pub mod checkpoint;
pub mod cluster_lock;
pub mod database_file;
pub mod migrations;
pub mod node_listener;
pub mod pool;
pub mod postgres_address;
pub mod postgres_hosts;
pub mod postgres_pools;
pub mod postgres_work;
pub mod probe;
pub mod query;
pub mod silence;
pub mod sqlite_connection;
pub mod sqlite_database;
pub mod sqlite_readers;
pub mod sqlite_writer;
pub mod stored_row;
pub mod transaction;

pub use backup::copy_database;
pub use bound_value::BoundRow;
pub use bulk::{BulkInserts, BulkStatement};
pub use cluster_lock::ClusterLock;
pub use node_listener::NodeListener;
pub use pool::{DatabaseDialect, DatabasePool, LeaseFailure, StoreOpening};
pub use probe::{DatabaseProbe, probe_database};
pub use query::{OwnedQuery, SqlQuery};
pub use stored_row::{FromStoredRow, StoredRow};
pub use transaction::WriteTransaction;

use std::time::Duration;

/// Time that a statement waits for a connection, or for SQLite's lock.
pub const PATIENCE: Duration = Duration::from_secs(3);
