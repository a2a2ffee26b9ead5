//! The shared libraries of an executable, for an image without any.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::executable::Executable;
use crate::process::{command, output};

/// Returns the loader and the libraries that an executable needs, from this system. Empty for a
/// static one.
pub(super) async fn find(executable: &Executable) -> Result<Vec<PathBuf>> {
    if executable.is_static {
        return Ok(Vec::new());
    }
    let path = executable.path.to_str().context("the path of the executable is UTF-8")?;
    let listed = output(command("ldd", &[path])).await?;
    ensure!(!listed.contains("not found"), "a library is missing on this system:\n{listed}");
    Ok(read_listing(&listed))
}

/// Parses the paths in the output of `ldd`: `libm.so.6 => /lib/libm.so.6 (0x…)`, or the loader's
/// path alone.
fn read_listing(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let named = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = named.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_library_is_not_a_file() {
        let listed =
            "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/libm.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        let paths = ["/lib/libm.so.6", "/lib64/ld.so"].map(PathBuf::from);
        assert_eq!(read_listing(listed), paths);
    }
}
