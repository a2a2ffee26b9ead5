//! `waybill alert …`

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{CallBody, QueryParameters, RemoteServer, escape_path};
use super::partial_id::ALERT;
use super::resource::IdArgs;
use super::screen::ListColumn;
use super::{CliError, CommandScreen};

const COLUMNS: &[ListColumn] = &[
    ("state", &["/state"]),
    ("severity", &["/severity"]),
    ("about", &["/subject/name"]),
    ("what", &["/summary"]),
    ("limit", &["/shown_limit"]),
    ("since", &["/since"]),
    ("acknowledged by", &["/acknowledged_by"]),
    ("id", &["/id"]),
];

const RULE_COLUMNS: &[ListColumn] = &[
    ("rule", &["/rule"]),
    ("enabled", &["/enabled"]),
    ("limit", &["/limit"]),
    ("clear", &["/clear"]),
    ("for", &["/for"]),
    ("keep", &["/keep"]),
    ("severity", &["/severity"]),
];

/// Largest number of alerts that are listed.
const MOST: usize = 1_000;

/// The subcommands of `waybill alert`.
#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// List alerts: the firing ones first, then the resolved ones.
    List(AlertListArgs),
    /// Show an alert.
    Show(IdArgs),
    /// List the rules. The keys alerts.* of the configuration change them.
    Rules(AlertRulesArgs),
    /// Acknowledge an alert: no reminders follow, only the notice of its end.
    Ack(IdArgs),
    /// Suppress the notices of an alert for a while.
    Silence(AlertSilenceArgs),
}

/// Selects the alerts to list.
#[derive(Debug, Args)]
pub struct AlertListArgs {
    /// State: `pending`, `firing` or `resolved`.
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill alert rules`.
#[derive(Debug, Args)]
pub struct AlertRulesArgs {
    #[command(flatten)]
    remote: RemoteServer,
}

/// Arguments of `waybill alert silence`.
#[derive(Debug, Args)]
pub struct AlertSilenceArgs {
    /// Id of the alert, or the beginning or end of it.
    #[arg(value_name = "ID")]
    id: String,
    /// Duration of the silence, such as 2h; 0s ends a silence.
    #[arg(long = "for", value_name = "SPAN", required_unless_present = "until")]
    span: Option<String>,
    /// End of the silence (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "span")]
    until: Option<String>,
    #[command(flatten)]
    remote: RemoteServer,
}

pub async fn run_alert(
    command: AlertCommand,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    match command {
        AlertCommand::List(args) => {
            let client = args.remote.connect(screen)?;
            let mut query = QueryParameters::default();
            query.add("state", args.state);
            let found = client.list_pages("/alerts", &query, MOST).await?;
            Ok(screen.print_list(COLUMNS, &found, "no alerts")?)
        }
        AlertCommand::Rules(args) => {
            let client = args.remote.connect(screen)?;
            let query = QueryParameters::default();
            let found = client.list_pages("/alerts/rules", &query, MOST).await?;
            Ok(screen.print_list(RULE_COLUMNS, &found, "no rules")?)
        }
        AlertCommand::Show(args) => {
            let client = args.remote.connect(screen)?;
            let id = ALERT.find_whole(&client, &args.id).await?;
            let path = format!("/alerts/{}", escape_path(&id));
            let alert = client.call_api(Method::GET, &path, CallBody::None).await?;
            Ok(screen.print_object(&alert)?)
        }
        AlertCommand::Ack(args) => {
            let client = args.remote.connect(screen)?;
            let id = ALERT.find_whole(&client, &args.id).await?;
            let path = format!("/alerts/{}/acknowledge", escape_path(&id));
            let answer = client.call_api(Method::POST, &path, CallBody::None).await?;
            Ok(screen.print_outcome(format!("alert {id} is acknowledged"), &answer)?)
        }
        AlertCommand::Silence(args) => silence_alert(args, screen).await,
    }
}

async fn silence_alert(
    args: AlertSilenceArgs,
    screen: &mut CommandScreen<'_>,
) -> Result<(), CliError> {
    let client = args.remote.connect(screen)?;
    let id = ALERT.find_whole(&client, &args.id).await?;
    let path = format!("/alerts/{}/silence", escape_path(&id));
    let given = [("for", args.span), ("until", args.until)];
    let given = given.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text?))));
    let body = Value::Object(given.collect::<Map<String, Value>>());
    let answer = client.call_api(Method::POST, &path, CallBody::Json(body)).await?;
    Ok(screen.print_outcome(tell_silence(&id, &answer), &answer)?)
}

/// Says until when an alert is silenced. A silence of no length ends the one that there was.
fn tell_silence(id: &str, alert: &Value) -> String {
    match alert.get("silenced_until").and_then(Value::as_str) {
        Some(until) => format!("alert {id} sends no notices until {until}"),
        None => format!("alert {id} is not silenced; it sends notices again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_that_ends_at_once_is_not_called_a_silence() {
        let until = json!({"silenced_until": "2026-11-30T12:00:00.000Z"});
        let told = tell_silence("alr_1", &until);
        assert_eq!(told, "alert alr_1 sends no notices until 2026-11-30T12:00:00.000Z");
        for ended in [json!({"silenced_until": null}), json!({})] {
            let told = tell_silence("alr_1", &ended);
            assert_eq!(told, "alert alr_1 is not silenced; it sends notices again");
        }
    }
}
