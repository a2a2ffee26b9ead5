//! Serves the style sheets and scripts. Their names contain a digest of their content, so browsers
//! may cache them forever.

use crate::crypto::sha256;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use std::sync::LazyLock;

/// The design's style sheet, unchanged.
const STYLE: &str = include_str!("waybill.css");

/// Hexadecimal digits of the digest in a file's name.
const DIGITS: usize = 16;

/// A file that pages load.
struct AssetFile {
    name: String,
    kind: &'static str,
    text: &'static str,
}

/// Additional styles of the pages.
const MORE_STYLE: &str = include_str!("pages.css");

/// The scripts. Without them a page shows the same content, but does not update itself.
const TIMES: &str = include_str!("times.js");
const LIVE: &str = include_str!("live.js");
const DROP: &str = include_str!("drop.js");

static ASSETS: LazyLock<[AssetFile; 5]> = LazyLock::new(|| {
    let (css, script) = ("text/css; charset=utf-8", "text/javascript; charset=utf-8");
    [
        AssetFile::new("waybill", "css", css, STYLE),
        AssetFile::new("pages", "css", css, MORE_STYLE),
        AssetFile::new("times", "js", script, TIMES),
        AssetFile::new("live", "js", script, LIVE),
        AssetFile::new("drop", "js", script, DROP),
    ]
});

impl AssetFile {
    fn new(stem: &str, ending: &str, kind: &'static str, text: &'static str) -> Self {
        let mut digest = hex::encode(sha256::sha256_digest(&[text.as_bytes()]));
        digest.truncate(DIGITS);
        Self { name: format!("{stem}-{digest}.{ending}"), kind, text }
    }
}

/// Returns the addresses of all files with this ending: `css` or `js`.
pub fn asset_addresses(ending: &str) -> impl Iterator<Item = String> {
    let of_kind = ASSETS.iter().filter(move |asset| asset.name.ends_with(ending));
    of_kind.map(|asset| format!("/admin/assets/{}", asset.name))
}

/// Answers with a file. A name stands for one content, so the answer may be cached forever.
pub async fn serve_asset(Path(name): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = asset.text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, forever);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_load_nothing_from_other_servers() {
        for asset in &*ASSETS {
            assert!(!asset.text.contains("@import") && !asset.text.contains("url("));
        }
        assert!(asset_addresses(".css").next().unwrap().starts_with("/admin/assets/waybill-"));
    }
}
