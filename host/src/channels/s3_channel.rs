//! The kind `s3`: puts deliveries as objects into a bucket of Amazon S3, or of a service that
//! speaks its protocol.
//!
//! An object holds one delivery or a batch of them, as lines of NDJSON or CSV. Its name holds the
//! id of its first delivery and a digest of its content. A repeated attempt therefore puts the same
//! bytes under the same name, and `If-None-Match: *` makes the service say that it has them.

mod object_answer;
mod object_batcher;
mod object_bucket;

use super::channel_kind::{ChannelCapabilities, ChannelDescription, ChannelKind, EndpointChannel};
use super::delivery_channel::{ChannelCall, ChannelOutcome, ChannelReply, DeliveryChannel};
use super::line_form::{CsvColumn, LineForm, LineFormat, check_columns};
use super::place_template::PlaceTemplate;
use super::setting_secret::SettingSecret;
use crate::config::ChannelsSection;
use crate::model::endpoint::EndpointSettings;
use crate::model::envelope::{EnvelopeMessage, RenderedBody};
use crate::model::fault::InputFault;
use crate::net::error_class::ErrorClass;
use crate::signing::aws_signature::{AwsSigner, S3};
use crate::time::span::TimeSpan;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use object_batcher::{BatchRules, BatchedLine, ObjectBatcher};
use object_bucket::{BucketAddressing, ObjectBucket, ObjectEncryption, PutHeaders, ServicePlace};
use serde::Deserialize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Default and highest longest wait of a batch for further deliveries.
const WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Default and highest size of the lines of one object, in bytes: 8 and 64 MiB.
const BYTES: usize = 8 * 1024 * 1024;
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most deliveries in one object, which is the highest `max_in_flight` of an endpoint.
const MAX_ITEMS: usize = 1_000;

/// Endpoints of the kind `s3`.
#[derive(Debug)]
pub struct S3Channel;

/// The settings of an endpoint of kind `s3`, beside its `url`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// The name of the bucket, which must exist.
    #[schema(min_length = 1, max_length = 255, example = "crm-events")]
    bucket: String,
    /// The region of the bucket, which the signature names.
    #[serde(default = "region")]
    #[schema(default = "us-east-1", max_length = 64)]
    region: String,
    /// Where a request names the bucket: `virtual` in the host, `path` in the path. If left out,
    /// `virtual` for hosts of amazonaws.com and `path` for all others.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    addressing: Option<BucketAddressing>,
    /// What the names of objects begin with, with values of the event: `crm/{type}/{date}`.
    #[serde(default = "folder")]
    #[schema(default = "{date}", max_length = 255)]
    folder: String,
    /// The format of the objects: `ndjson` or `csv`.
    #[serde(default)]
    #[schema(value_type = String, default = "ndjson")]
    format: LineFormat,
    /// The columns of a CSV object. `delivery_id` is always the first column and is not named here.
    #[serde(default)]
    #[schema(inline)]
    columns: Vec<CsvColumn>,
    /// Whether texts that a spreadsheet would run as a formula are written unchanged into a CSV
    /// object. If not, they get a leading `'`.
    #[serde(default)]
    keep_formulas: bool,
    /// The content type of the objects. If left out, that of the format.
    #[serde(default)]
    #[schema(max_length = 255)]
    content_type: Option<String>,
    /// Most deliveries in one object, 1 to 1000. At most `max_in_flight` of the endpoint come
    /// together.
    #[serde(default = "items")]
    #[schema(default = 1, minimum = 1, maximum = 1000)]
    max_items: usize,
    /// The size of its lines at which an object is put, in bytes: 1 KiB to 64 MiB.
    #[serde(default = "bytes")]
    #[schema(default = 8_388_608, minimum = 1024, maximum = 67_108_864)]
    max_bytes: usize,
    /// How long an object waits for further deliveries, 1 ms to 1 m, and at most half of the
    /// endpoint's time-out.
    #[serde(default = "wait")]
    #[schema(value_type = String, default = "1s")]
    max_wait: TimeSpan,
    /// Server-side encryption: `AES256` or `aws:kms`. If left out, as the bucket is set.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    encryption: Option<ObjectEncryption>,
    /// The id or ARN of the key for the encryption `aws:kms`. If left out, the account's own.
    #[serde(default)]
    #[schema(max_length = 2048)]
    kms_key: Option<String>,
    /// Whether an object may be put over one that has its name, which has the same content. For
    /// services that do not know `If-None-Match`.
    #[serde(default)]
    overwrite: bool,
    /// The id of the access key.
    #[schema(write_only, value_type = String, min_length = 1, max_length = 255)]
    access_key: SettingSecret,
    /// The secret access key.
    #[schema(write_only, value_type = String, min_length = 1, max_length = 255)]
    secret_key: SettingSecret,
    /// The session token of temporary credentials.
    #[serde(default)]
    #[schema(write_only, value_type = Option<String>, max_length = 8192)]
    token: Option<SettingSecret>,
}

fn region() -> String {
    "us-east-1".to_owned()
}

fn folder() -> String {
    "{date}".to_owned()
}

const fn items() -> usize {
    1
}

const fn bytes() -> usize {
    BYTES
}

const fn wait() -> TimeSpan {
    TimeSpan::new(WAIT)
}

impl ChannelKind for S3Channel {
    const DESCRIPTION: ChannelDescription = ChannelDescription {
        kind: "s3",
        label: "Objects (Amazon S3)",
        url_schemes: &["https", "http"],
        url_hint: "the service, without the bucket, such as https://s3.eu-central-1.amazonaws.com",
        delivered_when: "the service has stored the object, or answers 412: it has an object of this name, which has the same content",
        dead_when: "400, 401, 403, 404, 405, 501 and redirects, except an expired token and a clock that is wrong; a body that is not JSON if the format is ndjson",
        repeat_known_by: "the name of the object, which holds the id of its first delivery and a digest of its content; delivery_id in each line",
        limits: "max_items, max_bytes and max_wait of an object; names have at most 255 bytes before the delivery's id",
        capabilities: ChannelCapabilities {
            signs: false,
            headers: false,
            envelope: true,
            batches: true,
            exactly_once: false,
        },
    };

    type Settings = S3Settings;

    fn check(settings: &S3Settings, _rules: &ChannelsSection) -> Vec<InputFault> {
        let is_plain =
            |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        let is_bucket = is_plain(&settings.bucket) && !settings.bucket.starts_with('.');
        let wait = settings.max_wait.get();
        let checks = [
            ("bucket", is_bucket, "letters, digits, `.`, `-` and `_`; the folder is `folder`"),
            ("region", is_plain(&settings.region), "a name such as `eu-central-1`"),
            ("max_wait", !wait.is_zero() && wait <= MAX_WAIT, "from 1ms to 1m"),
            (
                "kms_key",
                settings.kms_key.is_none() || settings.encryption == Some(ObjectEncryption::Kms),
                "only with the encryption `aws:kms`",
            ),
        ];
        let failed = checks.into_iter().filter(|(_, holds, _)| !holds);
        let mut faults: Vec<InputFault> =
            failed.map(|(path, _, why)| InputFault::new(path, why)).collect();
        faults.extend(object_bucket::check_folder(&settings.folder));
        faults.extend(check_columns(settings.format, &settings.columns));
        let texts = [
            ("content_type", settings.content_type.as_deref()),
            ("kms_key", settings.kms_key.as_deref()),
            ("access_key", Some(settings.access_key.reveal())),
            ("token", settings.token.as_ref().map(SettingSecret::reveal)),
        ];
        let is_odd =
            |text: Option<&str>| text.is_some_and(|text| HeaderValue::from_str(text).is_err());
        faults.extend(
            texts.into_iter().filter(|(_, text)| is_odd(*text)).map(|(path, _)| {
                InputFault::new(path, "has characters that a header cannot contain")
            }),
        );
        faults
    }

    fn open(
        endpoint: &EndpointSettings,
        settings: S3Settings,
        _rules: &ChannelsSection,
    ) -> Result<EndpointChannel, String> {
        let place = ServicePlace::read(&endpoint.url, &settings.bucket, settings.addressing)?;
        let folder = PlaceTemplate::parse(&settings.folder)?;
        let form = LineForm::read(settings.format, settings.columns, settings.keep_formulas)?;
        let reveal = |secret: SettingSecret| secret.reveal().to_owned();
        let signer = AwsSigner {
            access_key: reveal(settings.access_key),
            secret_key: reveal(settings.secret_key),
            token: settings.token.map(reveal),
            region: settings.region,
            service: S3.to_owned(),
        };
        let content_type = settings.content_type.as_deref().unwrap_or(form.content_type());
        let headers = PutHeaders {
            content_type,
            encryption: settings.encryption,
            kms_key: settings.kms_key.as_deref(),
            overwrite: settings.overwrite,
        };
        let headers =
            headers.build().map_err(|why| format!("a header cannot be written: {why}"))?;
        let bucket = ObjectBucket { bucket: settings.bucket, place, signer, headers, form };
        let rules = BatchRules {
            max_items: settings.max_items.min(MAX_ITEMS),
            max_bytes: settings.max_bytes.min(MAX_BYTES),
            max_wait: settings.max_wait.get(),
        };
        let publisher =
            ObjectPublisher { bucket: Arc::new(bucket), folder, rules, batcher: OnceLock::new() };
        Ok(EndpointChannel::Other(Arc::new(publisher)))
    }
}

/// Puts the deliveries of one endpoint.
#[derive(Debug)]
struct ObjectPublisher {
    bucket: Arc<ObjectBucket>,
    folder: PlaceTemplate,
    rules: BatchRules,
    batcher: OnceLock<ObjectBatcher>,
}

impl ObjectPublisher {
    /// Renders the line of a delivery and the folder of its object. The error says why it cannot be
    /// put.
    fn render(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<&RenderedBody>,
    ) -> Result<(String, Vec<u8>), String> {
        let folder = self.folder.render(message).map_err(|why| format!("the folder {why}"))?;
        object_bucket::check_segments(&folder)?;
        Ok((folder, self.bucket.form.render(message, body)?))
    }
}

impl DeliveryChannel for ObjectPublisher {
    fn deliver<'a>(&'a self, call: ChannelCall<'a>) -> BoxFuture<'a, Option<ChannelReply>> {
        Box::pin(async move {
            let ChannelCall { client, message, body, signed_at, timeout, withdrawn, .. } = call;
            let (folder, line) = match self.render(&message, body.as_ref()) {
                Ok(rendered) => rendered,
                Err(why) => {
                    let dead = ChannelOutcome::Dead { class: ErrorClass::Rejected };
                    return Some(ChannelReply::failed(dead, why, Duration::ZERO));
                }
            };
            let id = message.delivery_id;
            if self.rules.max_items == 1 {
                let object = self.bucket.make_object(&folder, id, &[line.as_slice()]);
                return self.bucket.put(client, object, signed_at, timeout, withdrawn).await;
            }
            let batcher = self
                .batcher
                .get_or_init(|| ObjectBatcher::start(Arc::clone(&self.bucket), self.rules));
            let (client, delivery_id) = (client.clone(), id.to_owned());
            let deadline = Instant::now() + timeout;
            let queued = BatchedLine { folder, delivery_id, line, client, signed_at, deadline };
            batcher.put(queued, withdrawn).await
        })
    }

    fn preview(
        &self,
        message: &EnvelopeMessage<'_>,
        body: Option<RenderedBody>,
    ) -> Result<RenderedBody, String> {
        let (folder, line) = self.render(message, body.as_ref())?;
        let object = self.bucket.make_object(&folder, message.delivery_id, &[line.as_slice()]);
        let content_type = self.bucket.form.content_type().into();
        Ok(RenderedBody { body: object.body.to_vec(), content_type, headers: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(more: &Value) -> Vec<String> {
        let mut settings = json!({"bucket": "crm", "access_key": "a", "secret_key": "s"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: S3Settings = serde_json::from_value(settings).unwrap();
        let faults = S3Channel::check(&settings, &ChannelsSection::default());
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn settings_are_checked_with_their_places() {
        assert_eq!(faults(&json!({})), [""; 0]);
        let column = json!([{"name": "a", "value": "data.a"}]);
        assert_eq!(faults(&json!({"format": "csv", "columns": column})), [""; 0]);
        for (settings, place) in [
            (json!({"bucket": "crm/invoices"}), "bucket"),
            (json!({"bucket": ".."}), "bucket"),
            (json!({"region": "eu central"}), "region"),
            (json!({"max_wait": "2m"}), "max_wait"),
            (json!({"kms_key": "k"}), "kms_key"),
            (json!({"folder": "a/{data}"}), "folder"),
            (json!({"folder": "../{date}"}), "folder"),
            (json!({"folder": "/{date}"}), "folder"),
            (json!({"columns": column}), "columns"),
            (json!({"content_type": "a\nb"}), "content_type"),
            (json!({"token": "a\nb"}), "token"),
        ] {
            assert_eq!(faults(&settings), [place], "{settings}");
        }
    }
}
