//! Runs the example receivers of `docs/receivers` on deliveries that Waybill signed.

use super::{rotated, secrets, signed_at};
use crate::model::secrets::SigningSecrets;
use crate::model::signature_scheme::SignatureScheme;
use crate::time::timestamp::Timestamp;
use http::HeaderMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const PLAIN: &str = "a secret in plain words";
const BODY: &[u8] = "{\"name\":\"Müller\",\"total\":\"1.50\"}".as_bytes();

/// A delivery as a receiver gets it, and the result that the receiver should print.
struct Case {
    name: &'static str,
    secret: &'static str,
    headers: HeaderMap,
    body: Vec<u8>,
    fits: bool,
}

fn cases(now: Timestamp) -> Vec<Case> {
    let case = |name,
                secret,
                fits,
                made_with: &SigningSecrets,
                at,
                schemes: &[SignatureScheme],
                body: &[u8]| {
        let headers = signed_at(schemes, made_with, BODY, at);
        Case { name, secret, headers, body: body.to_vec(), fits }
    };
    let (default, no_list) = (&SignatureScheme::DEFAULT[..], &[SignatureScheme::Webhook][..]);
    let both = rotated(WHSEC, PLAIN, now.after(Duration::from_hours(1)));
    let minutes = |n| Duration::from_mins(n);
    vec![
        case("whsec", WHSEC, true, &secrets(WHSEC), now, default, BODY),
        case("plain", PLAIN, true, &secrets(PLAIN), now, default, BODY),
        case("with every scheme", WHSEC, true, &secrets(WHSEC), now, &SignatureScheme::ALL, BODY),
        case("rotated, new", WHSEC, true, &both, now, default, BODY),
        case("rotated, old", PLAIN, true, &both, now, default, BODY),
        case("a little late", WHSEC, true, &secrets(WHSEC), now.before(minutes(3)), default, BODY),
        case("too late", WHSEC, false, &secrets(WHSEC), now.before(minutes(6)), default, BODY),
        case("too early", WHSEC, false, &secrets(WHSEC), now.after(minutes(7)), default, BODY),
        case("other secret", PLAIN, false, &secrets(WHSEC), now, default, BODY),
        case("other body", WHSEC, false, &secrets(WHSEC), now, default, b"{}"),
        case("no list", WHSEC, false, &secrets(WHSEC), now, no_list, BODY),
    ]
}

/// Runs a receiver's program on every case. Returns `None` if this machine does not have the
/// language.
fn run(program: &str, file: &str) -> Option<Vec<(&'static str, bool, bool)>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receivers").join(file);
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        println!("skipped: {program} is not on this machine");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (headers, body) = (folder.path().join("headers"), folder.path().join("body"));
    let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
    let outcomes = cases(now).into_iter().map(|case| {
        let lines = case.headers.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap()));
        std::fs::write(&headers, lines.collect::<String>()).unwrap();
        std::fs::write(&body, case.body).unwrap();
        let ran =
            Command::new(program).arg(&script).arg(case.secret).args([&headers, &body]).output();
        let code = ran.unwrap().status.code();
        assert!(matches!(code, Some(0 | 1)), "{program} ended with {code:?}");
        (case.name, code == Some(0), case.fits)
    });
    Some(outcomes.collect())
}

fn check(program: &str, file: &str) {
    for (name, said, fits) in run(program, file).unwrap_or_default() {
        assert_eq!(said, fits, "{file}: {name}");
    }
}

#[test]
fn javascript() {
    check("node", "verify.js");
}

#[test]
fn php() {
    check("php", "verify.php");
}

#[test]
fn python() {
    check("python3", "verify.py");
}
