//! `pages`: whether an operator can work with the pages at `/admin`.
//!
//! A headless Chromium works through an operator's day against a server that is thrown away. What it
//! does stands in `tests/browser/day.mjs`: every page is pictured at two widths, light and dark, and
//! checked by axe-core.

use anyhow::Result;

use crate::guests::GUESTS;
use crate::needs::{self, Skips};
use crate::packages;
use crate::process::{command, succeed};
use crate::server::{Server, TOKEN};
use crate::test::Built;

/// Settings of the server: rules that fire at once, so that nobody waits for minutes, and a mailbox
/// without TLS. The machine may be short of space.
const SETTINGS: [(&str, &str); 4] = [
    ("WAYBILL_ALERTS__INTERVAL", "200ms"),
    ("WAYBILL_ALERTS__DEAD_LETTERS", "{ limit = 1, for = \"0s\" }"),
    ("WAYBILL_ALERTS__DISK_FREE", "{ enabled = false }"),
    ("WAYBILL_CHANNELS__SMTP_WITHOUT_TLS", "true"),
];

/// `cargo xtask pages`: fails on a step that does not work, on a violation that axe-core finds, and
/// on a page that scrolls sideways on a phone.
pub(crate) async fn run() -> Result<()> {
    let mut skips = Skips::default();
    let Some(chromium) = needs::chromium(&mut skips).await else {
        skips.print();
        return Ok(());
    };
    let built = Built::program_alone().await?;
    let folder = packages::browser().await?;
    let server = Server::start(&built, &folder.join("server"), &SETTINGS).await?;
    let mut day = command("node", &["day.mjs"]);
    day.current_dir(&folder).env(GUESTS, built.guests());
    day.env("WAYBILL_URL", &server.address).env("WAYBILL_TOKEN", TOKEN);
    day.env("WAYBILL_CHROMIUM", chromium).env("WAYBILL_PICTURES", folder.join("pictures"));
    succeed(day).await
}
