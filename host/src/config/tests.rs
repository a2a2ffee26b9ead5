//! Layers, errors and the example file.

use secrecy::ExposeSecret as _;

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<EnvironmentPair> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn error(file: &str, environment: &[(&str, &str)]) -> String {
    let parts = Config::from_parts(Some(("waybill.toml", file)), pairs(environment), &[]);
    parts.unwrap_err().to_string()
}

#[test]
fn the_example_file_is_the_default() {
    let example = ("waybill.example.toml", Config::example_toml());
    let config = Config::from_parts(Some(example), [], &[]).unwrap();
    assert_eq!(format!("{config:#?}"), format!("{:#?}", Config::default()));
    for key in KEYS {
        let (_, name) = key.split_once('.').unwrap();
        let shown = [format!("\n{name} = "), format!("\n# {name} = ")];
        assert!(shown.iter().any(|line| example.1.contains(line)), "{key} is not in the example");
    }
}

#[test]
fn every_key_can_be_set() {
    for key in KEYS {
        // The policy is a table.
        let set = Config::default().set(key, Value::Table(toml::Table::new()));
        let message = set.err().unwrap_or_default();
        assert!(!message.contains("not known"), "{key}: {message}");
    }
}

#[test]
fn environment_wins_over_file_and_command_line_over_both() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\nmax_batch = 5\n[delivery]\ntimeout = \"9s\"\n";
    let environment = pairs(&[
        ("WAYBILL_SERVER__LISTEN", "127.0.0.1:2"),
        ("WAYBILL_DELIVERY__ALLOW_NETWORKS", "[\"10.0.0.0/8\", \"::1/128\"]"),
        ("WAYBILL_DELIVERY__RETRY_SCHEDULE", "[\"1s\", \"2s\"]"),
        ("WAYBILL_SERVER__MAX_BODY", "2048"),
        ("WAYBILL_LOG", "debug"),
        ("PATH", "/bin"),
        ("WAYBILL_TEST_DATABASE", "postgres://elsewhere"),
    ]);
    let flags = [KeyOverride {
        key: "database.url",
        flag: "--database",
        value: "sqlite:/var/lib/x.db?mode=rwc".into(),
    }];
    let config = Config::from_parts(Some(("f", file)), environment, &flags).unwrap();
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.max_batch, 5);
    assert_eq!(config.server.max_body, 2_048);
    assert_eq!(config.delivery.timeout, seconds(9));
    assert_eq!(config.delivery.allow_networks.len(), 2);
    assert_eq!(config.delivery.retry_schedule, [seconds(1), seconds(2)]);
    assert_eq!(config.log_filter.as_deref(), Some("debug"));
    assert_eq!(config.data_dir(), Path::new("/var/lib"));
    assert_eq!(Config::default().data_dir(), Path::new("."));
}

#[test]
fn errors_say_what_where_and_how_to_mend() {
    let cases = [
        (
            error("[server]\n\nlistn = 1\n", &[]),
            "waybill.toml line 3: server.listn: there is no such key; the nearest known one is server.listen",
        ),
        (error("[servr]\n", &[]), "waybill.toml line 1: servr: there is no such key"),
        (error("listen = 1\n", &[]), "waybill.toml line 1: listen: there is no such key"),
        (
            error("[smart]\nwindow = 'soon'\n", &[]),
            "waybill.toml line 2: smart.window: `soon` is not a duration",
        ),
        (
            error("[smart]\nwindow = 5\n", &[]),
            "waybill.toml line 2: smart.window: invalid type: integer",
        ),
        (error("[smart\n", &[]), "waybill.toml line 1: "),
        (error("[smart]\nwindow = \"1m\"\n", &[]), "default: smart.max_wait: must not be shorter"),
        (
            error("", &[("WAYBILL_SMART__WINDO", "1s")]),
            "environment variable WAYBILL_SMART__WINDO: smart.windo: there is no such key; the nearest known one is WAYBILL_SMART__WINDOW",
        ),
        (error("", &[("WAYBILL_SERVER_LISTEN", "x")]), "WAYBILL_SERVER__LISTEN was probably meant"),
        (error("", &[("WAYBILL_ADMIN_TOKN", "x")]), "WAYBILL_ADMIN_TOKEN was probably meant"),
        (
            error("", &[("WAYBILL_SERVER__MAX_BATCH", "0")]),
            "WAYBILL_SERVER__MAX_BATCH: server.max_batch: must be 1 to 100000",
        ),
        (
            error("", &[("WAYBILL_DELIVERY__ALLOW_NETWORKS", "[\"10.0.0.0/99\"]")]),
            "delivery.allow_networks: invalid IP address syntax",
        ),
        (error("", &[("WAYBILL_ADMIN_TOKEN", "")]), "variable WAYBILL_ADMIN_TOKEN: it is empty"),
        (error("", &[("WAYBILL_ADMIN_TOKEN", "x")]), "WAYBILL_ADMIN_TOKEN: it can be guessed"),
        (error("", &[("WAYBILL_SECRET_KEY", "")]), "variable WAYBILL_SECRET_KEY: it is empty"),
        (error("", &[("WAYBILL_SECRET_KEY", "a")]), "WAYBILL_SECRET_KEY: it can be guessed"),
        (error("", &[("WAYBILL_SERVER__DATA_DIR", "")]), "server.data_dir: names no folder"),
        (
            error("[retention]\nevents = '1d'\n", &[]),
            "line 2: retention.events: must not be shorter than retention.payloads",
        ),
        (
            error("[retention]\nmax_size = 70000000\n[database]\nurl = 'postgres://x'\n", &[]),
            "retention.max_size: is only possible with an SQLite database",
        ),
        (error("[retention]\nrecords = '0s'\n", &[]), "retention.records: must be \"1s\" to"),
        (
            error("[database]\nmax_connections = 3\n", &[]),
            "line 2: database.max_connections: must be 4 to 40",
        ),
        (
            error("", &[("WAYBILL_DATABASE__URL", "mysql://x")]),
            "must begin with sqlite: or postgres://",
        ),
    ];
    for (said, expected) in cases {
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
    }
}

#[test]
fn rules_of_alerts_are_changed_one_by_one() {
    let file = "[alerts]\nendpoint_failing = { limit = '5m', limits = { archive = '6h' } }\n\
                disk_free = { enabled = false }\nwebhook = 'https://hooks.example/t0ken'\n";
    let environment = pairs(&[("WAYBILL_ALERTS__FAILURE_RATE", "{ limit = 30 }")]);
    let config = Config::from_parts(Some(("f", file)), environment, &[]).unwrap();
    let rule = |metric| config.alerts.rules.rule(metric);
    let failing = rule(AlertMetric::EndpointFailing);
    assert_eq!((failing.limit, failing.limit_for("archive", None)), (Some(300), Some(21_600)));
    assert!(!rule(AlertMetric::DiskFree).enabled && rule(AlertMetric::DeadLetters).enabled);
    assert_eq!(rule(AlertMetric::FailureRate).limit, Some(30));
    assert!(!format!("{config:?}").contains("t0ken"), "an address may contain a token");
    for (file, says) in [
        (
            "[alerts]\ndisk_free = { limit = '1h' }\n",
            "alerts.disk_free: limits of this rule are percent",
        ),
        ("[alerts]\ndisk_fre = { limit = 1 }\n", "the nearest known one is alerts.disk_free"),
        ("[alerts]\nwebhook = 'ftp://x'\n", "alerts.webhook: must be an http or https URL"),
        (
            "[alerts]\nwebhook_secret = 'x'\n",
            "alerts.webhook_secret: signs what alerts.webhook gets",
        ),
    ] {
        let said = error(file, &[]);
        assert!(said.contains(says), "expected {says:?} in {said:?}");
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let said =
        error("[smart]\nwindow = 'soon'\nmaxwait = '1s'\n", &[("WAYBILL_SERVER__MAX_BODY", "1")]);
    assert_eq!(said.lines().count(), 4, "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let missing = Config::load(Some(Path::new("/no/such/waybill.toml")), [], &[]).unwrap_err();
    assert!(missing.to_string().contains("/no/such/waybill.toml"));
}

#[test]
fn secrets_are_kept_but_never_shown() {
    let environment = pairs(&[
        ("WAYBILL_ADMIN_TOKEN", "hunter2-token-0123456789"),
        ("WAYBILL_SECRET_KEY", "hunter2-key-0123456789"),
        ("WAYBILL_DATABASE__URL", "postgres://waybill:hunter2@db.internal/waybill"),
    ]);
    let config = Config::from_parts(None, environment, &[]).unwrap();
    let shown = format!("{config:?} {}", config.database.url);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("postgres://waybill:***@db.internal/waybill"));
    assert_eq!(config.admin_token.unwrap().expose_secret(), "hunter2-token-0123456789");
    assert_eq!(config.secret_key.unwrap().expose_secret(), "hunter2-key-0123456789");
    assert!(config.database.url.expose().contains("hunter2"));
}
