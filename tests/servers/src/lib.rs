//! Throw-away servers, for tests and measurements: each with its own data folder, a free port on
//! loopback and default durability unless asked for otherwise.
//!
//! Their programs come from `PATH` or from where Debian puts them. None of the servers runs as root:
//! as root they run as the user that their package makes, or else as `nobody`. Dropping a
//! [`Cluster`], a [`MariaDb`], a [`PgBouncer`], a [`NatsServer`], a [`RabbitMq`] or a [`Mosquitto`]
//! stops that server and removes its data; nothing else is ever stopped.

mod daemon;
mod mariadb;
mod mosquitto;
mod nats;
mod pgbouncer;
mod postgres;
mod rabbitmq;

pub use mariadb::MariaDb;
pub use mosquitto::Mosquitto;
pub use nats::NatsServer;
pub use pgbouncer::PgBouncer;
pub use postgres::Cluster;
pub use rabbitmq::RabbitMq;
