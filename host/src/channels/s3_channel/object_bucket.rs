//! A bucket, and how one object is put into it.

use super::object_answer::read_answer;
use crate::channels::delivery_channel::{ChannelOutcome, ChannelReply};
use crate::channels::line_form::LineForm;
use crate::channels::place_template::PlaceTemplate;
use crate::crypto::sha256::sha256_digest;
use crate::model::fault::InputFault;
use crate::net::error_class::ErrorClass;
use crate::net::http_client::{ClientRequest, DeliveryClient};
use crate::net::http_url::read_url;
use crate::signing::aws_signature::{AwsSigner, UnsignedRequest, encode_path};
use crate::time::timestamp::Timestamp;
use bytes::Bytes;
use http::header::{self, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Deserialize;
use std::time::Duration;

/// Number of hexadecimal digits of the digest in a name: 64 bits.
const DIGEST_DIGITS: usize = 16;
/// The domain of Amazon's own services, which name the bucket in the host.
const AMAZON: &str = ".amazonaws.com";

const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");

/// Where a request names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketAddressing {
    /// As the first label of the host.
    Virtual,
    /// As the first segment of the path.
    Path,
}

/// The encryption with which the service stores objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ObjectEncryption {
    /// By keys of the service.
    #[serde(rename = "AES256")]
    Aes256,
    /// By a key of the Key Management Service.
    #[serde(rename = "aws:kms")]
    Kms,
}

impl ObjectEncryption {
    const fn name(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
    }
}

/// The address of a bucket: what stands before the name of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlace(String);

impl ServicePlace {
    /// Reads the URL of a service. The error says what is wrong with it.
    pub fn read(
        url: &str,
        bucket: &str,
        addressing: Option<BucketAddressing>,
    ) -> Result<Self, String> {
        let url = read_url(url, &["https", "http"])?;
        if url.path() != "/" || url.query().is_some() {
            return Err(
                "the URL names only the service; the bucket and the folder are named in `settings`"
                    .to_owned(),
            );
        }
        let host = url.host_str().unwrap_or_default();
        let usual =
            if host.ends_with(AMAZON) { BucketAddressing::Virtual } else { BucketAddressing::Path };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = url.scheme();
        Ok(Self(match addressing.unwrap_or(usual) {
            BucketAddressing::Virtual => format!("{scheme}://{bucket}.{host}{port}"),
            BucketAddressing::Path => format!("{scheme}://{host}{port}/{bucket}"),
        }))
    }

    fn object_uri(&self, key: &str) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}/{}", self.0, encode_path(key)).parse()
    }
}

/// Returns the fault of a template of a folder.
pub fn check_folder(folder: &str) -> Option<InputFault> {
    let parsed = PlaceTemplate::parse(folder).map(drop);
    let why = parsed.and_then(|()| check_segments(folder)).err()?;
    Some(InputFault::new("folder", why))
}

/// Fails for folders that programs which copy a bucket to a disk would put elsewhere.
pub fn check_segments(folder: &str) -> Result<(), String> {
    let is_odd = |segment: &str| ["", ".", ".."].contains(&segment);
    if folder.split('/').any(is_odd) {
        return Err(format!("the folder `{folder}` has an empty segment, `.` or `..`"));
    }
    Ok(())
}

/// The settings behind the headers of each request.
#[derive(Debug, Clone, Copy)]
pub struct PutHeaders<'a> {
    pub content_type: &'a str,
    pub encryption: Option<ObjectEncryption>,
    pub kms_key: Option<&'a str>,
    pub overwrite: bool,
}

impl PutHeaders<'_> {
    /// Returns the headers. Fails if a value cannot stand in a header.
    pub fn build(self) -> Result<HeaderMap, InvalidHeaderValue> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(self.content_type)?);
        if !self.overwrite {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        if let Some(encryption) = self.encryption {
            headers.insert(ENCRYPTION, HeaderValue::from_static(encryption.name()));
        }
        if let Some(key) = self.kms_key {
            headers.insert(KMS_KEY, HeaderValue::from_str(key)?);
        }
        let agent = concat!("Waybill/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        Ok(headers)
    }
}

/// An object to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketObject {
    /// The name in the bucket.
    pub key: String,
    pub body: Bytes,
    /// Number of deliveries in the object.
    pub items: usize,
}

/// The bucket of an endpoint.
#[derive(Debug)]
pub struct ObjectBucket {
    /// The name, for the trace.
    pub bucket: String,
    pub place: ServicePlace,
    pub signer: AwsSigner,
    /// The headers of each request, unsigned.
    pub headers: HeaderMap,
    pub form: LineForm,
}

impl ObjectBucket {
    /// Makes an object of lines. Equal lines make an equal name.
    pub fn make_object(&self, folder: &str, first_id: &str, lines: &[&[u8]]) -> BucketObject {
        let body = [self.form.header(), lines.concat()].concat();
        let mut digest = hex::encode(sha256_digest(&[&body]));
        digest.truncate(DIGEST_DIGITS);
        let key = format!("{folder}/{first_id}-{digest}.{}", self.form.extension());
        BucketObject { key, body: Bytes::from(body), items: lines.len() }
    }

    /// Puts an object. Returns `None` if `withdrawn` completed before the request began.
    pub async fn put(
        &self,
        client: &DeliveryClient,
        object: BucketObject,
        signed_at: Timestamp,
        timeout: Duration,
        withdrawn: impl Future<Output = ()> + Send,
    ) -> Option<ChannelReply> {
        let shown = vec![
            ("bucket", self.bucket.clone()),
            ("key", object.key.clone()),
            ("content-length", object.body.len().to_string()),
            ("deliveries", object.items.to_string()),
        ];
        let reply = match self.sign_put(object, signed_at) {
            Ok(request) => match client.send(request, timeout, withdrawn).await? {
                Ok(reply) => read_answer(reply, signed_at),
                Err(error) => ChannelReply::unreached(error),
            },
            Err(why) => {
                let dead = ChannelOutcome::Dead { class: ErrorClass::Rejected };
                let detail = format!("the request cannot be made: {why}");
                ChannelReply::failed(dead, detail, Duration::ZERO)
            }
        };
        Some(reply.with_request(shown))
    }

    fn sign_put(&self, object: BucketObject, at: Timestamp) -> Result<ClientRequest, http::Error> {
        let uri = self.place.object_uri(&object.key)?;
        let mut headers = self.headers.clone();
        let request = UnsignedRequest { method: &Method::PUT, uri: &uri, body: &object.body };
        self.signer.sign(request, at, &mut headers)?;
        Ok(ClientRequest { method: Method::PUT, ..ClientRequest::post(uri, headers, object.body) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_in_the_host_or_in_the_path() {
        use BucketAddressing::{Path, Virtual};
        let uri = |url: &str, addressing| {
            let place = ServicePlace::read(url, "crm", addressing).unwrap();
            place.object_uri("a b/%2E/ü.ndjson").unwrap().to_string()
        };
        let key = "a%20b/%252E/%C3%BC.ndjson";
        let amazon = "https://s3.eu-central-1.amazonaws.com";
        let own = "http://minio.example:9000/";
        assert_eq!(uri(amazon, None), format!("https://crm.s3.eu-central-1.amazonaws.com/{key}"));
        assert_eq!(uri(amazon, Some(Path)), format!("{amazon}/crm/{key}"));
        assert_eq!(uri(own, None), format!("http://minio.example:9000/crm/{key}"));
        assert_eq!(uri(own, Some(Virtual)), format!("http://crm.minio.example:9000/{key}"));
        for url in ["https://h.example/crm", "https://h.example/?x", "ftp://h.example"] {
            assert!(ServicePlace::read(url, "crm", None).is_err(), "{url}");
        }
    }

    #[test]
    fn the_name_of_an_object_changes_with_its_content() {
        let headers =
            PutHeaders { content_type: "a/b", encryption: None, kms_key: None, overwrite: false };
        let signer = AwsSigner {
            access_key: "a".to_owned(),
            secret_key: "s".to_owned(),
            token: None,
            region: "r".to_owned(),
            service: "s3".to_owned(),
        };
        let bucket = ObjectBucket {
            bucket: "crm".to_owned(),
            place: ServicePlace::read("https://h.example", "crm", None).unwrap(),
            signer,
            headers: headers.build().unwrap(),
            form: LineForm::Ndjson,
        };
        let object = |line: &str| bucket.make_object("f", "dlv_1", &[line.as_bytes()]);
        assert_eq!(object("{}\n"), object("{}\n"));
        assert_ne!(object("{}\n").key, object("[]\n").key);
        assert!(object("{}\n").key.starts_with("f/dlv_1-"));
        assert!(object("{}\n").key.ends_with(".ndjson"));
    }
}
