//! The harness of the black-box tests: the real `waybill` program, real databases and real
//! receivers, all on this machine's loopback addresses.
//!
//! | part | is |
//! |---|---|
//! | [`World`] | one running `waybill` on a database of its own, for one test |
//! | [`Receiver`] | an HTTP server that plays a script of good and bad answers and books what came |
//! | [`Site`] | another system's REST API over rows that a test changes, which answers well or badly |
//! | [`LeadApi`] | a CRM that makes leads, and cuts the line before or after it has made one |
//! | [`Client`] | the REST API, as a user of it sees it |
//! | [`Cluster`] | a throw-away PostgreSQL that belongs to whoever started it |
//! | [`ServerPair`] | two of them, of which one replicates the other |
//! | [`Database`] | a fresh database on such a server, dropped with the value |
//! | [`Stopped`] | a table of it that nobody else can write to for a while |
//! | [`PgBouncer`] | a throw-away pooler in front of it, in transaction mode |
//! | [`MariaDb`] | a throw-away MariaDB, likewise |
//! | [`MariaDatabase`] | a fresh database on such a server, with a user who may only read it |
//! | [`Server`] | the program as a child process, its output kept |
//!
//! [`Cluster`], [`Database`] and [`Server`] return errors, because `cargo xtask bench` and `cargo
//! xtask faults` stand on them too. [`World`], [`Receiver`] and [`Site`] serve tests only and fail the test that misuses
//! them. Nothing here sleeps in place of a signal: what has to be waited for is announced by a line
//! of output, by an arrival, or is asked for until a generous deadline.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "the harness fails the test that misuses it, or whose server does not start"
)]

pub mod database;
pub mod lead_api;
pub mod mariadb;
pub mod receiver;
pub mod rest;
pub mod server;
pub mod server_pair;
pub mod site;
pub mod world;

pub use database::{Database, Stopped};
pub use lead_api::{LeadApi, LeadFault};
pub use mariadb::MariaDatabase;
pub use receiver::{Arrival, Receiver, Reply};
pub use rest::{Answer, Client};
pub use server::{Server, Settings};
pub use server_pair::ServerPair;
pub use site::{Dialect, Fault, Site};
pub use waybill_servers::{Cluster, MariaDb, PgBouncer};
pub use world::{Backend, World};
