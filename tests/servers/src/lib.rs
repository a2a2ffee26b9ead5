//! Throw-away database servers, for tests and measurements: each with its own data folder, a free
//! port on loopback and default durability unless asked for otherwise.
//!
//! Their programs come from `PATH` or from where Debian puts them. Neither server runs as root, so
//! as root they run as the user that their package makes, or else as `nobody`. Dropping a
//! [`Cluster`], a [`MariaDb`] or a [`PgBouncer`] stops that server and removes its data; nothing
//! else is ever stopped.

mod daemon;
mod mariadb;
mod pgbouncer;
mod postgres;

pub use mariadb::MariaDb;
pub use pgbouncer::PgBouncer;
pub use postgres::Cluster;
