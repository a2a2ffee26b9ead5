//! A module that reports what its sandbox lets it reach.
//!
//! As a `transform` it makes one draft of the type `sandbox.report`:
//!
//! | field | means |
//! |---|---|
//! | `arguments`, `variables` | how many command-line arguments and environment variables it was given |
//! | `readable` | which of a few common paths it could open |
//! | `writable` | whether it could make a file |
//! | `connected` | whether a TCP connection to the payload's `connect` (a socket address) succeeded |
//! | `resolved` | whether a name lookup of the payload's `resolve` gave an address |
//! | `clock` | seconds since 1970 by the system clock |
//! | `random` | 8 bytes from the system's random source, in hexadecimal |
//!
//! With `"sleep": SECONDS` it sleeps before that: time that passes in the host, where no guest
//! instruction runs that a deadline could stop.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use waybill_guest::{Draft, Event, Failure, Transform, export_module};

#[derive(Deserialize)]
struct Order {
    sleep: Option<u64>,
    connect: Option<String>,
    resolve: Option<String>,
}

#[derive(Serialize)]
struct Report {
    arguments: usize,
    variables: usize,
    readable: Vec<&'static str>,
    writable: bool,
    connected: bool,
    resolved: bool,
    clock: u64,
    random: String,
}

struct Probe;

impl Transform for Probe {
    fn apply(event: Event) -> Result<Vec<Draft>, Failure> {
        let order: Order = event.data()?;
        if let Some(seconds) = order.sleep {
            std::thread::sleep(Duration::from_secs(seconds));
        }
        Ok(vec![Draft::json(&report(&order))?.kind("sandbox.report")])
    }
}

fn report(order: &Order) -> Report {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let resolved =
        order.resolve.as_ref().and_then(|name| (name.as_str(), 80).to_socket_addrs().ok());
    Report {
        arguments: std::env::args().count(),
        variables: std::env::vars_os().count(),
        readable: ["/", ".", "/etc/passwd", "/proc/self/environ", "/tmp"]
            .into_iter()
            .filter(|path| File::open(path).is_ok())
            .collect(),
        writable: File::create("/tmp/waybill-probe").is_ok(),
        connected: order
            .connect
            .as_ref()
            .is_some_and(|address| TcpStream::connect(address).is_ok()),
        resolved: resolved.is_some_and(|mut addresses| addresses.next().is_some()),
        clock: now.map(|elapsed| elapsed.as_secs()).unwrap_or_default(),
        random: format!("{:016x}", RandomState::new().hash_one(0)),
    }
}

export_module!(Probe: transform);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use waybill_guest::testing;

    use super::*;

    #[test]
    fn report_names_what_can_be_reached() {
        let drafts = Probe::apply(testing::event("probe.order", json!({"sleep": 0}))).unwrap();
        let report = testing::payload(&drafts[0]);
        assert_eq!(report["connected"], json!(false));
        assert_eq!(report["resolved"], json!(false));
        assert!(report["readable"].as_array().unwrap().contains(&json!("/")));
        assert!(report["clock"].as_u64().unwrap() > 0);
    }
}
