//! The executable of a package: its version, and its requirements on the system.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::process::{command, output};

/// Type of the program header that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// Size of a program header of a 64-bit ELF file.
const PROGRAM_HEADER: usize = 56;

/// An executable `waybill` and its properties.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) path: PathBuf,
    pub(super) version: String,
    /// Whether it runs without a dynamic loader and the C library.
    pub(super) is_static: bool,
    /// The newest version of glibc that it requires, such as `2.34`.
    pub(super) glibc: Option<String>,
}

impl Executable {
    /// Reads the file and asks it for its version.
    pub(super) async fn read(path: &Path) -> Result<Self> {
        let content = std::fs::read(path).with_context(|| path.display().to_string())?;
        let said = output(command(path, &["--version"])).await?;
        let version = said.trim().strip_prefix("waybill ");
        let version = version.with_context(|| format!("{said} is not the version of waybill"))?;
        let is_static = !names_loader(&content)?;
        let glibc = if is_static { None } else { newest_glibc(&content) };
        Ok(Self { path: path.to_owned(), version: version.to_owned(), is_static, glibc })
    }
}

/// Returns whether an ELF file names a dynamic loader in its program headers.
fn names_loader(content: &[u8]) -> Result<bool> {
    ensure!(content.starts_with(b"\x7fELF\x02\x01"), "it is not a little-endian 64-bit ELF file");
    let number = |at: usize, bytes: usize| -> Result<usize> {
        let read = content.get(at..at + bytes).context("the ELF file ends too early")?;
        let mut wide = [0; 8];
        wide.iter_mut().zip(read).for_each(|(to, from)| *to = *from);
        Ok(usize::try_from(u64::from_le_bytes(wide))?)
    };
    let (first, count) = (number(32, 8)?, number(56, 2)?);
    for header in 0..count {
        if number(first + header * PROGRAM_HEADER, 4)? == PT_INTERP as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the newest `GLIBC_2.N` among the names of symbol versions.
fn newest_glibc(content: &[u8]) -> Option<String> {
    const PREFIX: &[u8] = b"\0GLIBC_2.";
    let starts = content.windows(PREFIX.len()).enumerate();
    let starts = starts.filter(|(_, window)| *window == PREFIX).map(|(at, _)| at + PREFIX.len());
    let minor = |at: usize| -> Option<u32> {
        let digits = content.get(at..)?.iter().take(3).take_while(|byte| byte.is_ascii_digit());
        String::from_utf8(digits.copied().collect()).ok()?.parse().ok()
    };
    starts.filter_map(minor).max().map(|minor| format!("2.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_counts_by_number() {
        let names = b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0";
        assert_eq!(newest_glibc(names).as_deref(), Some("2.34"));
        assert_eq!(newest_glibc(b"\0printf\0"), None);
    }

    #[test]
    fn a_static_file_names_no_loader() {
        let file = |kind: u8| {
            let mut file = vec![0; 64 + PROGRAM_HEADER];
            let mut set = |at: usize, bytes: &[u8]| {
                for (to, from) in file.iter_mut().skip(at).zip(bytes) {
                    *to = *from;
                }
            };
            set(0, b"\x7fELF\x02\x01");
            set(32, &[64]);
            set(56, &[1]);
            set(64, &[kind]);
            file
        };
        assert!(names_loader(&file(3)).unwrap());
        assert!(!names_loader(&file(1)).unwrap());
        assert!(names_loader(b"#!/bin/sh").is_err());
    }
}
