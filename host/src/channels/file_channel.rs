//! The kind `file`: appends each delivery as a line to an NDJSON or CSV file, in a folder that the
//! configuration permits.
//!
//! A delivery succeeds when its line has been synchronised to the disk. A file gets its final name
//! when it is finished; see [`segment`].

mod appender;
mod segment;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::delivery_channel::{ChannelCall, ChannelReply, DeliveryChannel};
use super::line_form::{CsvColumn, LineForm, LineFormat, check_columns};
use super::publish::{AttemptTime, PublishOutcome, make_publish_attempt};
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::http_url::read_url;
use crate::time::span::TimeSpan;
use appender::{FileAppender, FileRules};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::path::{Component, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Default longest time for which a file grows.
const AGE: Duration = Duration::from_mins(5);
/// Highest setting for the time for which a file grows.
const MAX_AGE: Duration = Duration::from_hours(24);
/// Default size at which a file is finished, in bytes: 64 MiB.
const BYTES: u64 = 64 * 1024 * 1024;

/// Endpoints of the kind `file`.
#[derive(Debug)]
pub struct FileChannel;

/// The settings of an endpoint of kind `file`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The format of the files: `ndjson` or `csv`.
    #[serde(default)]
    #[schema(value_type = String, default = "ndjson")]
    format: LineFormat,
    /// The beginning of the files' names. The id of the first delivery in the file follows.
    #[serde(default = "file_name")]
    #[schema(default = "events", max_length = 64)]
    name: String,
    /// The columns of a CSV file. `delivery_id` is always the first column and is not named here.
    #[serde(default)]
    #[schema(inline)]
    columns: Vec<CsvColumn>,
    /// Whether texts that a spreadsheet would run as a formula are written unchanged into a CSV
    /// file. If not, they get a leading `'`.
    #[serde(default)]
    keep_formulas: bool,
    /// The size at which a file is finished and the next one begins, in bytes: 1 KiB to 1 GiB.
    #[serde(default = "bytes")]
    #[schema(default = 67_108_864, minimum = 1024, maximum = 1_073_741_824)]
    max_bytes: u64,
    /// The time after which a file is finished, 1 s to 24 h.
    #[serde(default = "age")]
    #[schema(value_type = String, default = "5m")]
    max_age: TimeSpan,
}

fn file_name() -> String {
    "events".to_owned()
}

const fn bytes() -> u64 {
    BYTES
}

const fn age() -> TimeSpan {
    TimeSpan::new(AGE)
}

impl ChannelKind for FileChannel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "file",
        label: "Files (NDJSON, CSV)",
        url_schemes: &["file"],
        url_hint: "a folder inside one of `channels.file_directories`, such as file:///var/lib/waybill/out",
        delivered_when: "the line is synchronised to the disk; the file gets its final name when it is finished",
        dead_when: "the body is not JSON and the format is ndjson",
        repeat_known_by: "delivery_id, in the body or in the first column",
        limits: "max_bytes and max_age of a file; above them the next one begins",
        capabilities: ChannelCapabilities {
            signs: false,
            headers: false,
            envelope: true,
            batches: true,
            exactly_once: false,
        },
    };

    type Settings = FileSettings;

    fn check(settings: &FileSettings, rules: &ChannelsSection) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if rules.file_directories.is_empty() {
            let message = "no folder is permitted: name one in `channels.file_directories` of the configuration";
            faults.push(InputFault::new("", message));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if settings.name.is_empty() || !settings.name.chars().all(is_plain) {
            faults.push(InputFault::new("name", "write 1 to 64 letters, digits, `_` and `-`"));
        }
        if !(Duration::from_secs(1)..=MAX_AGE).contains(&settings.max_age.get()) {
            faults.push(InputFault::new("max_age", "from 1s to 24h"));
        }
        faults.extend(check_columns(settings.format, &settings.columns));
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: FileSettings,
        rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let folder = read_folder(&endpoint.url)?;
        let permitted = rules.file_directories.clone();
        if !permitted.iter().any(|root| folder.starts_with(root)) {
            return Err(format!(
                "{} is not in a folder that `channels.file_directories` of the configuration names",
                folder.display()
            ));
        }
        let FileSettings { format, name, columns, keep_formulas, max_bytes, max_age } = settings;
        let form = LineForm::read(format, columns, keep_formulas)?;
        let rules = FileRules { folder, permitted, name, form, max_bytes, max_age: max_age.get() };
        let publisher = FilePublisher { rules: Arc::new(rules), appender: OnceLock::new() };
        Ok(EndpointChannel::Other(Arc::new(publisher)))
    }
}

/// Returns the folder of a URL. It must be absolute and must not contain `..`.
fn read_folder(url: &str) -> Result<PathBuf, String> {
    let example = "write it as file:///var/lib/waybill/out";
    let url = read_url(url, &["file"])?;
    let is_local = url.host_str().is_none_or(str::is_empty) && url.query().is_none();
    let folder = url.to_file_path().ok().filter(|_| is_local).ok_or(example)?;
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if folder.is_absolute() && folder.components().all(is_plain) {
        Ok(folder)
    } else {
        Err(example.to_owned())
    }
}

/// Writes the deliveries of one endpoint.
#[derive(Debug)]
struct FilePublisher {
    rules: Arc<FileRules>,
    appender: OnceLock<FileAppender>,
}

impl DeliveryChannel for FilePublisher {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(async move {
            let ChannelCall { message, body, timeout, withdrawn, .. } = call;
            let time = AttemptTime { limit: timeout, withdrawn };
            let shown = vec![
                ("folder", self.rules.folder.display().to_string()),
                ("delivery_id", message.delivery_id.to_owned()),
            ];
            let line = self.rules.form.render(&message, body.as_ref());
            let opening = async {
                Ok(self.appender.get_or_init(|| FileAppender::start(Arc::clone(&self.rules))))
            };
            let reply = make_publish_attempt(time, opening, |appender| async move {
                match line {
                    Ok(line) => appender.append(message.delivery_id, line).await,
                    Err(why) => PublishOutcome::dead(why),
                }
            });
            Some(reply.await?.with_request(shown))
        })
    }

    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        let line = self.rules.form.render(message, body.as_ref())?;
        let content_type = self.rules.form.content_type();
        Ok(RenderedBody { body: line, content_type: content_type.into(), headers: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(settings: &Value, rules: &ChannelsSection) -> Vec<String> {
        let settings: FileSettings = serde_json::from_value(settings.clone()).unwrap();
        FileChannel::check(&settings, rules).into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn files_are_written_only_to_permitted_folders() {
        let none = ChannelsSection::default();
        assert_eq!(faults(&json!({}), &none), [""]);
        let rules = ChannelsSection { file_directories: vec!["/data".into()], ..none };
        let column = json!([{"name": "a", "value": "data.a"}]);
        assert_eq!(faults(&json!({}), &rules), [""; 0]);
        assert_eq!(faults(&json!({"format": "csv", "columns": column}), &rules), [""; 0]);
        for (settings, place) in [
            (json!({"name": "../x"}), "name"),
            (json!({"max_age": "2d"}), "max_age"),
            (json!({"columns": column}), "columns"),
            (json!({"format": "csv"}), "columns"),
            (
                json!({"format": "csv", "columns": [{"name": "a", "value": "x"}]}),
                "columns[0].value",
            ),
        ] {
            assert_eq!(faults(&settings, &rules), [place], "{settings}");
        }
    }

    #[test]
    fn a_url_is_a_folder_of_this_machine() {
        assert_eq!(read_folder("file:///data/out").unwrap(), PathBuf::from("/data/out"));
        for url in ["file://host/data", "file:data", "/data", "file:///data?x=1"] {
            assert!(read_folder(url).is_err(), "{url}");
        }
        // The URL parser resolves `..`.
        assert_eq!(read_folder("file:///data/../etc").unwrap(), PathBuf::from("/etc"));
        assert_eq!(read_folder("file:///data/%2e%2e/etc").unwrap(), PathBuf::from("/etc"));
    }
}
