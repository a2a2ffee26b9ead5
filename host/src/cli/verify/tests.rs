use clap::Parser as _;

use super::*;
use crate::model::secrets::SigningSecrets;
use crate::model::signature_scheme::SignatureScheme;
use crate::signing::DeliverySigner;

const SECRET: &str = "a secret in plain words";
const BODY: &[u8] = br#"{"id":17}"#;
const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    verify: VerifyArgs,
}

fn signed(schemes: &[SignatureScheme]) -> HeaderMap {
    let secrets = SigningSecrets { current: SECRET.to_owned(), previous: None };
    let mut headers = HeaderMap::new();
    DeliverySigner::new(schemes, &secrets).unwrap().sign("dlv_1", AT, BODY, &mut headers).unwrap();
    headers
}

/// Runs the command on files with these headers and that body. Returns its output and result.
fn ran(
    headers: &HeaderMap,
    body: &[u8],
    options: &[&str],
    human: bool,
) -> (String, Result<(), String>) {
    let folder = tempfile::tempdir().unwrap();
    let (headers_file, body_file) = (folder.path().join("headers"), folder.path().join("body"));
    let lines = headers.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap()));
    fs::write(&headers_file, lines.collect::<String>()).unwrap();
    fs::write(&body_file, body).unwrap();
    let files =
        ["--headers", headers_file.to_str().unwrap(), "--body", body_file.to_str().unwrap()];
    let arguments = ["verify"].iter().chain(&files).chain(options);
    let args = Arguments::try_parse_from(arguments).unwrap().verify;
    let mut out = Vec::new();
    let result = run_verify(&args, &mut CommandScreen::new(&mut out, human));
    (String::from_utf8(out).unwrap(), result.map_err(|error| error.to_string()))
}

const OPTIONS: [&str; 3] = ["--secret", SECRET, "--at=1700000000"];

#[test]
fn every_scheme_is_named_and_fits() {
    let (out, result) = ran(&signed(&SignatureScheme::ALL), BODY, &OPTIONS, true);
    assert_eq!(result, Ok(()));
    for scheme in SignatureScheme::ALL {
        assert!(
            out.lines().any(|line| line.starts_with(scheme.as_str()) && line.contains("yes")),
            "{out}"
        );
    }
}

#[test]
fn what_does_not_fit_is_explained_and_fails() {
    let (out, result) = ran(&signed(&SignatureScheme::DEFAULT), b"{\"id\": 17}", &OPTIONS, true);
    assert_eq!(result, Err("3 of 3 signatures do not fit".to_owned()));
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("perfexapi x-perfexapi-signature no"), "{out}");
    assert!(words.contains("compact form") && !out.contains(SECRET), "{out}");
}

#[test]
fn json_says_the_same() {
    let options =
        ["--secret=another one", "--previous", SECRET, "--at=2023-11-14T22:20:00Z", "--json"];
    let (out, result) =
        ran(&signed(&[SignatureScheme::Standard, SignatureScheme::Github]), BODY, &options, true);
    assert_eq!(result, Err("1 of 2 signatures do not fit".to_owned()));
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["fits"], false);
    assert_eq!(out["signatures"][0]["scheme"], "standard");
    assert!(out["signatures"][0]["problems"][0].as_str().unwrap().contains("6m40s old"), "{out}");
    assert_eq!(
        out["signatures"][1],
        json!({"scheme": "github", "header": "x-hub-signature-256", "fits": true, "previous_secret": true, "problems": []})
    );
}

#[test]
fn no_signature_at_all_fails() {
    let (out, result) = ran(&HeaderMap::new(), BODY, &OPTIONS, false);
    assert!(result.unwrap_err().starts_with("the headers hold no signature of a known scheme"));
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out, json!({"fits": false, "signatures": []}));
}

#[test]
fn listening_gets_a_line_for_each_scheme() {
    let lines = findings(SECRET, &signed(&[SignatureScheme::Webhook]), BODY, AT);
    assert_eq!(lines, ["webhook fits"]);
    let lines = findings(SECRET, &signed(&[SignatureScheme::Webhook]), b"", AT);
    assert!(lines[0].starts_with("webhook is wrong: "), "{lines:?}");
    assert_eq!(findings(SECRET, &HeaderMap::new(), BODY, AT), ["no signature of a known scheme"]);
}
