//! Webhooks of another system, each signed, verified, captured and acknowledged.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::figures::{float, percentile};
use crate::load::Calls;
use crate::sink::now_micros;
use crate::stage::{Backend, Scene, Stage};
use crate::table::{Measure, Target};
use crate::{census, store, template};

/// The source's name.
const SOURCE: &str = "crm";
/// The secret with which it signs. Both schemes use it literally.
const SECRET: &str = "the-other-system-s-secret";
/// Number of events before the measured ones.
const WARM: usize = 2_000;

/// The signature of the other system.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signing {
    /// Signs the body, by PerfexAPI's scheme.
    PerfexApi,
    /// Signs an id, the time and the body, by Standard Webhooks.
    Standard,
}

/// As many webhooks as the server accepts, without deliveries. The sender signs on the same cores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Webhooks {
    /// The database.
    pub(super) backend: Backend,
    /// The signature.
    pub(super) signing: Signing,
    /// Target for acknowledged events a second.
    pub(super) rate: Target,
}

impl Signing {
    const fn scheme(self) -> &'static str {
        match self {
            Self::PerfexApi => "perfexapi",
            Self::Standard => "standard",
        }
    }

    /// Returns a webhook that differs from all others.
    fn request(self, seq: usize) -> Result<Request<Full<Bytes>>> {
        let micros = now_micros();
        let body = template::webhook(seq, micros);
        let request =
            Request::post(format!("/in/{SOURCE}")).header(CONTENT_TYPE, "application/json");
        let request = match self {
            Self::PerfexApi => {
                request.header("x-perfexapi-signature", hex::encode(sign(&[body.as_bytes()])?))
            }
            Self::Standard => {
                let (id, at) = (format!("msg_{seq}"), (micros / 1_000_000).to_string());
                let tag = sign(&[id.as_bytes(), b".", at.as_bytes(), b".", body.as_bytes()])?;
                request
                    .header("webhook-id", id)
                    .header("webhook-timestamp", at)
                    .header("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(tag)))
            }
        };
        Ok(request.body(Full::new(body.into()))?)
    }
}

/// Computes HMAC-SHA256 with the secret.
fn sign(parts: &[&[u8]]) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

impl Webhooks {
    /// Runs one round.
    pub(super) async fn run(&self, case: &'static str, stage: &Stage) -> Result<Vec<Measure>> {
        let measured = if stage.quick { 5_000 } else { 60_000 };
        let mut scene = stage.open(self.backend).await?;
        let source = json!({
            "name": SOURCE, "kind": "webhook", "secret": SECRET,
            "webhook": {"scheme": self.signing.scheme()},
        });
        scene.post("/api/v1/sources", &source).await?;
        let address = scene.server.address().to_owned();
        let signing = self.signing;
        let send = async |first, end| {
            let calls = Calls { first, end, step: 1, connections: 64, rate: None };
            let make = Arc::new(move |seq, _| signing.request(seq));
            calls.run(&address, StatusCode::ACCEPTED, make).await
        };
        send(0, WARM).await?;
        let cpu = scene.cpu_micros();
        let answered = send(WARM, WARM + measured).await?;
        let cpu = float(scene.cpu_micros() - cpu);
        let mut took = answered.acknowledged.clone();
        let count = float(took.len() as u64);
        let rate = count / answered.took.as_secs_f64();
        let mut found = vec![
            Measure::new(case, "acknowledged", "events/s", rate).against(self.rate),
            Measure::new(case, "CPU", "µs/event", cpu / count),
            Measure::new(case, "acknowledged p50", "ms", percentile(&mut took, 0.5)),
            Measure::new(case, "acknowledged p99", "ms", percentile(&mut took, 0.99)),
            Measure::new(case, "peak memory", "MiB", census::peak_mib(scene.server.pid())),
        ];
        found.extend(faults(case, &mut scene, WARM + took.len()).await?);
        Ok(found)
    }
}

/// Returns the counts that must be zero. Lost means acknowledged but not in the database after the
/// server was killed.
async fn faults(case: &'static str, scene: &mut Scene, sent: usize) -> Result<Vec<Measure>> {
    let source = scene.get(&format!("/api/v1/sources/{SOURCE}")).await?;
    let duplicates = source.pointer("/status/duplicates").and_then(Value::as_u64);
    let duplicates = duplicates.context("a source tells how many repeats it had")?;
    scene.server.kill9();
    let kept = store::events_of(scene.database(), SOURCE).await?;
    let none =
        |what, count| Measure::new(case, what, "events", float(count)).against(Target::AtMost(0.0));
    Ok(vec![
        none("lost", (sent as u64).saturating_sub(kept)),
        none("taken for repeats", duplicates),
    ])
}
