//! The wall clock of one node, which a fault sets while the node runs.
//!
//! A library that is preloaded into the node (`c/wall_clock.c`) adds the seconds in a file to each
//! reading. The node's monotonic clock and the clocks of all others stay as they are.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use waybill_tests::Settings;

/// The source of the library.
const SOURCE: &str = include_str!("../c/wall_clock.c");

/// A clock that can be set.
#[derive(Debug)]
pub(crate) struct WallClock {
    folder: TempDir,
    file: File,
}

impl WallClock {
    /// Compiles the library, and sets the right time.
    pub(crate) fn make() -> Result<Self> {
        let folder = TempDir::new()?;
        let source = folder.path().join("wall_clock.c");
        std::fs::write(&source, SOURCE)?;
        let file = File::create(folder.path().join("ahead"))?;
        let clock = Self { folder, file };
        clock.set_ahead(0)?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(&source);
        let done = compile.output().context("compiling the library of the clock with cc")?;
        if !done.status.success() {
            bail!("cc: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(clock)
    }

    /// Lets a node that is started with these settings read this clock.
    pub(crate) fn install(&self, settings: &mut Settings) {
        let file = self.folder.path().join("ahead");
        settings.environment("LD_PRELOAD", &self.library().to_string_lossy());
        settings.environment("WAYBILL_CLOCK_FILE", &file.to_string_lossy());
    }

    /// Sets the clock this many seconds ahead of the right time.
    pub(crate) fn set_ahead(&self, seconds: i64) -> Result<()> {
        Ok(self.file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("wall_clock.so")
    }
}
