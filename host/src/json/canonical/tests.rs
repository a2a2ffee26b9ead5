use super::*;
use proptest::prelude::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn canonical(json: &str) -> String {
    let mut out = Vec::new();
    write_canonical(json, &mut out).unwrap_or_else(|error| panic!("{json}: {error}"));
    String::from_utf8(out).unwrap()
}

/// Texts that do not survive JavaScript's round trip, and their canonical forms.
const AWKWARD: &[(&str, &str)] = &[
    // Numbers.
    ("0", "0"),
    ("-0", "0"),
    ("-0.0", "0"),
    ("-0e9", "0"),
    ("0e99999999999999999999", "0"),
    ("1.0", "1"),
    ("-1.0", "-1"),
    ("100.00", "100"),
    ("1e3", "1000"),
    ("1E+3", "1000"),
    ("1e-3", "0.001"),
    ("1.50", "1.5"),
    ("0.1", "0.1"),
    ("0.10", "0.1"),
    ("10.010", "10.01"),
    ("0.000001", "0.000001"),
    ("0.0000010", "0.000001"),
    ("0.0000001", "1e-7"),
    ("0.00000123", "0.00000123"),
    ("0.000000123", "1.23e-7"),
    ("1.0e-7", "1e-7"),
    ("0.0", "0"),
    ("0.0000000", "0"),
    ("1e21", "1e+21"),
    ("1.5e300", "1.5e+300"),
    ("-1.5E-300", "-1.5e-300"),
    ("5e-324", "5e-324"),
    ("1e20", r#""1e20""#),
    ("1e400", r#""1e400""#),
    ("-1e400", r#""-1e400""#),
    ("1e-400", r#""1e-400""#),
    ("1e99999999999999999999", r#""1e99999999999999999999""#),
    ("9007199254740991", "9007199254740991"),
    ("-9007199254740991", "-9007199254740991"),
    ("9007199254740991.0", "9007199254740991"),
    ("9007199254740992", r#""9007199254740992""#),
    ("9007199254740993", r#""9007199254740993""#),
    ("-9007199254740993", r#""-9007199254740993""#),
    ("9007199254740993.0", r#""9007199254740993.0""#),
    ("123456789012345", "123456789012345"),
    ("1234567890123456", "1234567890123456"),
    ("12345678901234567890", r#""12345678901234567890""#),
    ("0.1234567890123456", "0.1234567890123456"),
    ("0.12345678901234567890", r#""0.12345678901234567890""#),
    // JavaScript prints fewer digits, which have another value.
    ("123456789.123456789", r#""123456789.123456789""#),
    ("0.30000000000000004", "0.30000000000000004"),
    ("1.7976931348623157e308", "1.7976931348623157e+308"),
    ("1000000000000000000000.5", r#""1000000000000000000000.5""#),
    // Strings.
    (r#""a\/b""#, r#""a/b""#),
    (r#""\u00e9\u00C9""#, "\"éÉ\""),
    (r#""\u20ac \ud83d\ude00 😀""#, "\"€ 😀 😀\""),
    (r#""\u0000\u001F\u007f""#, "\"\\u0000\\u001f\u{7f}\""),
    (r#""\u0008\u0009\u000a\u000C\u000d""#, r#""\b\t\n\f\r""#),
    (r#""\b\t\n\f\r\"\\""#, r#""\b\t\n\f\r\"\\""#),
    (r#""\u0022\u005C\u002f""#, r#""\"\\/""#),
    (r#""\uD83D""#, r#""\ud83d""#),
    (r#""\uDE00\uD83D""#, r#""\ude00\ud83d""#),
    (r#""\uD83D\uD83D\uDE00""#, r#""\ud83d😀""#),
    (r#""\uD83Dx\uDE00""#, r#""\ud83dx\ude00""#),
    (r#""\u2028\u2029""#, "\"\u{2028}\u{2029}\""),
    ("\"\u{2028}\u{feff}\"", "\"\u{2028}\u{feff}\""),
    // Space.
    (" { \"a\" : [ 1 , 2 ] , \"b\" : { } , \"c\" : [ ] }\r\n\t", r#"{"a":[1,2],"b":{},"c":[]}"#),
    ("[\n]", "[]"),
    (" true ", "true"),
    // Keys.
    (r#"{"b":1,"10":2,"a":3,"9":4}"#, r#"{"9":4,"10":2,"b":1,"a":3}"#),
    (r#"{"01":1,"1":2,"-1":3,"1.0":4}"#, r#"{"1":2,"01":1,"-1":3,"1.0":4}"#),
    (r#"{"4294967295":1,"4294967294":2,"0":3}"#, r#"{"0":3,"4294967294":2,"4294967295":1}"#),
    (r#"{"\u0031":1,"0":2}"#, r#"{"0":2,"1":1}"#),
    (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
    (r#"{"a":1,"\u0061":[1.0, 2]}"#, r#"{"a":[1,2]}"#),
    (
        r#"{"2":0,"a":{"1":{"x":1,"x":2},"0":"\/"},"1":9}"#,
        r#"{"1":9,"2":0,"a":{"0":"/","1":{"x":2}}}"#,
    ),
    (r#"{"__proto__":1,"constructor":2,"":3,"":4}"#, r#"{"__proto__":1,"constructor":2,"":4}"#),
    (r#"[{"b":1,"1":1}, {"b":1,"1":1}]"#, r#"[{"1":1,"b":1},{"1":1,"b":1}]"#),
];

#[test]
fn awkward_data_is_made_canonical() {
    for (json, expected) in AWKWARD {
        assert_eq!(canonical(json), *expected, "{json}");
    }
}

#[test]
fn compact_data_is_copied() {
    let json = r#"{"id":17,"name":"Müller & Söhne","items":[{"qty":2,"rate":"100.00"}],"paid":true,"note":null}"#;
    assert_eq!(canonical(json), json);
}

#[test]
fn large_objects_are_searched_for_duplicates_too() {
    let fields = |count: usize, value| {
        (0..count).map(move |n| format!(r#""key{n}":{value}"#)).collect::<Vec<_>>().join(",")
    };
    let twice = format!("{{{},{}}}", fields(5_000, 1), fields(5_000, 2));
    assert_eq!(canonical(&twice), format!("{{{}}}", fields(5_000, 2)));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(canonical(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
    let error = write_canonical(&nested(MAX_DEPTH + 1), &mut Vec::new());
    assert_eq!(error, Err(CanonicalError::TooDeep { at: MAX_DEPTH }));
    assert!(write_canonical(&"[".repeat(1_000_000), &mut Vec::new()).is_err());
    assert!(write_canonical(&r#"{"a":"#.repeat(1_000_000), &mut Vec::new()).is_err());
}

#[test]
fn invalid_json_is_refused_and_writes_nothing() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "[,1]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        "{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "+1",
        "NaN",
        "tru",
        "truex",
        "nul",
        r#"""#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\ud83d\u""#,
        "\"\n\"",
        "\"\u{1}\"",
        "1 2",
        "[1 2]",
        r#"{"a" 1}"#,
        "'a'",
        "[1]]",
        "--1",
        "1-",
        "0x1",
    ] {
        let mut out = b"before".to_vec();
        assert!(write_canonical(text, &mut out).is_err(), "{text}");
        assert_eq!(out, b"before", "{text}");
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(text).is_err(), "{text}");
    }
}

#[test]
fn strings_are_written_as_javascript_writes_them() {
    let mut out = Vec::new();
    write_string(
        "plain é😀/ \"q\" \\ \n\t\u{8}\u{c}\r\u{1}\u{1f}\u{7f} a long tail of plain text",
        &mut out,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "\"plain é😀/ \\\"q\\\" \\\\ \\n\\t\\b\\f\\r\\u0001\\u001f\u{7f} a long tail of plain text\""
    );
    let mut out = Vec::new();
    write_string("", &mut out);
    assert_eq!(out, b"\"\"");
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,20})",
        "-?(0|[1-9][0-9]{0,18})\\.[0-9]{1,20}",
        "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,8})?[eE][+-]?[0-9]{1,3}",
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
    ]
}

fn any_string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9 é€😀/._-]{0,12}",
        1 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\u[dD][89abcdefABCDEF][0-9a-fA-F]{2}",
        1 => "\\\\[\"\\\\/bfnrt]",
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        any_string(),
        "\"[0-9]{1,2}\"",
        "\"42949672[89][0-9]\"",
        "\"[ab]\"",
        "\"\\\\u003[0-9]\""
    ]
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any_number(),
        any_string(),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
    ];
    let space = "[ \n\r\t]{0,2}";
    leaf.prop_recursive(5, 48, 8, move |inner| {
        let field = (space, any_key(), space, inner.clone())
            .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{a}{value}{b}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..6)
                .prop_map(|list| format!("[{}]", list.join(", "))),
            proptest::collection::vec(field, 0..20)
                .prop_map(|list| format!("{{{}}}", list.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_result_is_valid_json_and_already_canonical(json in any_json()) {
        let once = canonical(&json);
        let twice = canonical(&once);
        prop_assert_eq!(&twice, &once);
        prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&once).is_ok());
    }

    #[test]
    fn accepts_exactly_the_texts_that_serde_json_accepts(text in "[-\\[\\]{}\",:0-9eE.+ \\\\ua]{0,12}") {
        let valid = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(write_canonical(&text, &mut Vec::new()).is_ok(), valid, "{}", text);
    }

    #[test]
    fn numbers_keep_their_value(number in any_number()) {
        let out = canonical(&number);
        let value = |text: &str| (text.parse::<f64>().unwrap() + 0.0).to_bits();
        if let Some(quoted) = out.strip_prefix('"') {
            prop_assert_eq!(quoted.trim_end_matches('"'), number);
        } else {
            prop_assert_eq!(value(&out), value(&number));
        }
    }

    #[test]
    fn strings_are_read_back_by_serde_json(text: String) {
        let mut out = Vec::new();
        write_string(&text, &mut out);
        let read: String = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(read, text);
        let again = canonical(str::from_utf8(&out).unwrap());
        prop_assert_eq!(again.into_bytes(), out);
    }
}

/// Runs `JSON.stringify(JSON.parse(text))` in Node for each text and returns those that change.
/// Returns `None` if this machine has no Node.
fn changed_by_node(texts: &[String]) -> Option<String> {
    const SCRIPT: &str = "
        const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
        for (const text of texts) {
            const again = JSON.stringify(JSON.parse(text));
            if (again !== text) console.log(text + ' became ' + again);
        }";
    let node = Command::new("node")
        .args(["-e", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut node) = node else {
        println!("skipped: node is not on this machine");
        return None;
    };
    let input = serde_json::to_vec(texts).unwrap();
    node.stdin.take().unwrap().write_all(&input).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "node failed");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn javascript_leaves_the_result_unchanged() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let strategy = any_json();
    let mut texts: Vec<String> = AWKWARD.iter().map(|(json, _)| canonical(json)).collect();
    let catalogue = crate::catalog::get().event_types();
    texts.extend(catalogue.iter().map(|event_type| canonical(event_type.example_text())));
    texts.extend((0..3_000).map(|_| canonical(&strategy.new_tree(&mut runner).unwrap().current())));
    if let Some(changed) = changed_by_node(&texts) {
        assert_eq!(changed, "");
    }
}
