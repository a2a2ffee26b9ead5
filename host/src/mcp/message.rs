//! Messages of JSON-RPC 2.0 as the Model Context Protocol uses them.

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

/// Longest method or tool name that an error repeats, in characters.
const LONGEST_NAME: usize = 64;

/// A supported version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// The first version without batches of messages.
    June2025,
    /// The last version with `initialize`.
    November2025,
    /// In this version each request states its version.
    July2026,
}

impl ProtocolVersion {
    /// All supported versions, oldest first.
    pub const ALL: [Self; 3] = [Self::June2025, Self::November2025, Self::July2026];

    /// Returns the version's name in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
            Self::July2026 => "2026-07-28",
        }
    }

    fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == name)
    }

    /// Returns the version for a client that sends these parameters with `initialize`: the
    /// requested one if it is supported, else the last with `initialize`.
    pub fn agree_on(params: &Map<String, Value>) -> Self {
        let asked = params.get("protocolVersion").and_then(Value::as_str).and_then(Self::find);
        asked.filter(|version| *version != Self::July2026).unwrap_or(Self::November2025)
    }
}

/// A request that expects an answer.
#[derive(Debug)]
pub struct RpcCall {
    /// A string or a number. The answer repeats it.
    pub id: Value,
    pub method: String,
    pub params: Map<String, Value>,
}

/// An error in place of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcFault {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl RpcFault {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn invalid(message: &str) -> Self {
        Self::new(-32600, message)
    }

    pub fn unknown_method(name: &str) -> Self {
        let name = shorten_name(name);
        Self::new(-32601, format!("unknown method `{name}`; this server has only tools"))
    }

    pub fn unknown_tool(name: &str) -> Self {
        let name = shorten_name(name);
        Self::new(-32602, format!("unknown tool `{name}`; tools/list lists the tools"))
    }

    fn unknown_version(asked: &str) -> Self {
        let supported = ProtocolVersion::ALL.map(ProtocolVersion::as_str);
        let asked = shorten_name(asked);
        Self {
            data: Some(json!({"supported": supported, "requested": asked})),
            ..Self::new(-32022, format!("version `{asked}` of the protocol is not supported"))
        }
    }

    /// Returns the status of the HTTP answer.
    pub const fn status(&self) -> StatusCode {
        match self.code {
            -32601 | -32602 => StatusCode::OK,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

fn shorten_name(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

impl RpcCall {
    /// Reads a message. Returns `None` for a message that expects no answer.
    pub fn read_message(body: &[u8]) -> Result<Option<Self>, RpcFault> {
        let message: Value = serde_json::from_slice(body)
            .map_err(|error| RpcFault::new(-32700, format!("the body is not JSON: {error}")))?;
        let Value::Object(mut message) = message else {
            return Err(RpcFault::invalid("a request must hold one message, a JSON object"));
        };
        if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(RpcFault::invalid("a message must have `\"jsonrpc\": \"2.0\"`"));
        }
        let Some(method) = message.get("method") else { return Ok(None) };
        let method = method.as_str().map(str::to_owned);
        let method = method.ok_or_else(|| RpcFault::invalid("`method` must be a string"))?;
        let Some(id) = message.remove("id") else { return Ok(None) };
        if !(id.is_string() || id.is_number()) {
            return Err(RpcFault::invalid("`id` must be a string or a number"));
        }
        let params = match message.remove("params") {
            Some(Value::Object(params)) => params,
            None | Some(Value::Null) => Map::new(),
            Some(_) => return Err(RpcFault::invalid("`params` must be an object")),
        };
        Ok(Some(Self { id, method, params }))
    }

    /// Returns the version that the request states in its parameters. Clients do so since
    /// 2026-07-28.
    fn own_version(&self) -> Option<&str> {
        self.params.get("_meta")?.get("io.modelcontextprotocol/protocolVersion")?.as_str()
    }

    /// Returns the tool's name, which proxies read in `Mcp-Name`.
    fn target(&self) -> Option<&str> {
        self.params.get("name").and_then(Value::as_str)
    }
}

/// Refuses a request in an unsupported version. Proxies read the headers, so a header that differs
/// from the body is refused too.
pub fn check_headers(headers: &HeaderMap, call: &RpcCall) -> Result<(), RpcFault> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let versions = text("mcp-protocol-version").into_iter().chain(call.own_version());
    if let Some(unknown) = versions.into_iter().find(|name| ProtocolVersion::find(name).is_none())
        && call.method != "initialize"
    {
        return Err(RpcFault::unknown_version(unknown));
    }
    let pairs = [("mcp-method", Some(call.method.as_str())), ("mcp-name", call.target())];
    let differs = |(name, body): &(&str, Option<&str>)| {
        text(name).is_some_and(|header| Some(header) != *body)
    };
    match pairs.into_iter().find(differs) {
        Some((name, _)) => {
            Err(RpcFault::new(-32020, format!("the header `{name}` differs from the body")))
        }
        None => Ok(()),
    }
}

/// Returns the message with a result.
pub fn write_result(call: &RpcCall, mut result: Value) -> String {
    if let (Some(version), Some(members)) = (call.own_version(), result.as_object_mut())
        && version == ProtocolVersion::July2026.as_str()
    {
        members.insert("resultType".to_owned(), json!("complete"));
    }
    json!({"jsonrpc": "2.0", "id": call.id, "result": result}).to_string()
}

/// Returns the message with an error.
pub fn write_fault(id: &Value, fault: &RpcFault) -> String {
    let mut error = json!({"code": fault.code, "message": fault.message});
    if let (Some(data), Some(members)) = (&fault.data, error.as_object_mut()) {
        members.insert("data".to_owned(), data.clone());
    }
    json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &Value) -> Result<Option<RpcCall>, RpcFault> {
        RpcCall::read_message(message.to_string().as_bytes())
    }

    #[test]
    fn only_requests_are_answered() {
        let call = read(&json!({"jsonrpc": "2.0", "id": "a", "method": "ping"})).unwrap().unwrap();
        assert_eq!(write_result(&call, json!({})), r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
        let notice = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert!(read(&notice).unwrap().is_none());
        assert!(read(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})).unwrap().is_none());
    }

    #[test]
    fn faults_have_the_codes_of_the_specification() {
        let code = |message: &Value| read(message).unwrap_err().code;
        assert_eq!(RpcCall::read_message(b"{").unwrap_err().code, -32700);
        assert_eq!(code(&json!([])), -32600);
        assert_eq!(code(&json!({"id": 1, "method": "ping"})), -32600);
        assert_eq!(code(&json!({"jsonrpc": "2.0", "id": null, "method": "ping"})), -32600);
        let long = "x".repeat(1000);
        assert!(RpcFault::unknown_tool(&long).message.len() < 200);
    }

    #[test]
    fn headers_and_versions_fit_the_message() {
        let version = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
        let params = json!({"name": "overview", "_meta": version});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let call = read(&message).unwrap().unwrap();
        let check = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            check_headers(&headers, &call).map_err(|fault| fault.code)
        };
        assert_eq!(check("mcp-name", "overview"), Ok(()));
        assert_eq!(check("mcp-name", "sources"), Err(-32020));
        assert_eq!(check("mcp-method", "tools/list"), Err(-32020));
        assert_eq!(check("mcp-protocol-version", "2025-11-25"), Ok(()));
        assert_eq!(check("mcp-protocol-version", "1999-01-01"), Err(-32022));
        assert!(write_result(&call, json!({})).contains(r#""resultType":"complete""#));
    }
}
