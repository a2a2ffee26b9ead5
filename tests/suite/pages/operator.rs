//! A person with a browser: keeps the session's cookie and sends forms with their fields.

use hyper::{Method, StatusCode};
use waybill_tests::rest::Call;
use waybill_tests::{Answer, Client, World};

const FORM: &str = "application/x-www-form-urlencoded";

/// A person who is signed in.
pub(crate) struct Operator {
    client: Client,
    pub(crate) cookie: String,
}

/// Returns the value of the first hidden field with this name in a page, or an empty text.
pub(crate) fn hidden_value(page: &str, name: &str) -> String {
    let field = format!("name=\"{name}\" value=\"");
    let rest = page.split_once(&field).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// Encodes the fields of a form as a browser does.
pub(crate) fn encode_form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        let bytes = text.bytes().map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        bytes.collect::<String>()
    };
    let pairs = fields.iter().map(|(name, text)| format!("{}={}", encode(name), encode(text)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Sends the form of the sign-in page.
pub(crate) async fn send_token(world: &World, token: &str) -> Answer {
    let form = encode_form(&[("token", token), ("next", "/admin/events")]);
    let call = Call::post("/admin/sign-in", FORM, form);
    world.client_with(None).send(call).await.unwrap()
}

impl Operator {
    /// Signs in with a token.
    pub(crate) async fn sign_in(world: &World, token: &str) -> Self {
        let answer = send_token(world, token).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { client: world.client_with(None), cookie }
    }

    /// Requests a page.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        let call = Call::new(Method::GET, path).header("cookie", &self.cookie);
        self.client.send(call).await.unwrap()
    }

    /// Returns the text of a page, which must exist and follow the rules of all pages.
    pub(crate) async fn page(&self, path: &str) -> String {
        let answer = self.ask(path).await;
        let text = answer.text();
        assert_eq!(answer.status, StatusCode::OK, "{path}: {text}");
        assert_eq!(text.matches("<h1").count(), 1, "{path} has one h1: {text}");
        assert!(!text.contains(" style="), "{path} has a style attribute");
        assert!(!text.contains("<script>") && !text.contains(" onclick="), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        text
    }

    /// Sends a form of this session.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let key = hidden_value(&self.page("/admin").await, "form_key");
        let fields = [&[("form_key", key.as_str())], fields].concat();
        self.send(Call::post(path, FORM, encode_form(&fields))).await
    }

    /// Sends a call with the session's cookie.
    pub(crate) async fn send(&self, call: Call) -> Answer {
        self.client.send(call.header("cookie", &self.cookie)).await.unwrap()
    }
}
