//! Throw-away servers for tests and measurements. Each has its own data folder, a free port on
//! loopback, and default durability unless the caller asks otherwise.
//!
//! Their programs come from `PATH` or from Debian's folders. None of the servers runs as root: for
//! root they run as the user of their package, or else as `nobody`. Dropping a [`Cluster`], a
//! [`MariaDb`], a [`PgBouncer`], a [`NatsServer`], a [`NatsCluster`], a [`RabbitMq`], a
//! [`KafkaBroker`] or a [`Mosquitto`] stops that server and removes its data. No other server is
//! ever stopped.

mod daemon;
mod kafka;
mod mariadb;
mod mosquitto;
mod nats;
mod pgbouncer;
mod postgres;
mod rabbitmq;

pub use kafka::KafkaBroker;
pub use mariadb::MariaDb;
pub use mosquitto::Mosquitto;
pub use nats::{NatsCluster, NatsServer};
pub use pgbouncer::PgBouncer;
pub use postgres::Cluster;
pub use rabbitmq::RabbitMq;
