//! Packages for Python and Node that tests use: pinned with their hashes in the tree, installed
//! below the target folder, and installed again when the pins change.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::needs;
use crate::process::{answers, command, output, target, workspace};

/// Installs the packages of `tests/libraries`. Returns the folder with `node_modules` and `python`.
pub(crate) async fn libraries() -> Result<PathBuf> {
    let pinned = workspace().join("tests/libraries");
    let folder = target().join("libraries");
    std::fs::create_dir_all(&folder)?;
    node(&folder, &pinned).await?;
    python(&folder.join("python"), &pinned.join("requirements.txt")).await?;
    Ok(folder)
}

/// Installs the compilers of modules in TypeScript and Python, as the examples pin them. Returns the
/// folder with `node_modules` and `python`.
pub(crate) async fn module_tools() -> Result<PathBuf> {
    let folder = target().join("module-tools");
    std::fs::create_dir_all(&folder)?;
    node(&folder, &workspace().join("examples-ts/tally")).await?;
    let pinned = workspace().join("examples-python/pii-mask/requirements.txt");
    python(&folder.join("python"), &pinned).await?;
    Ok(folder)
}

/// Creates a virtual environment with the packages of a requirements file. Returns the folder of
/// its programs.
pub(crate) async fn python(folder: &Path, requirements: &Path) -> Result<PathBuf> {
    let (programs, stamp) = (folder.join("bin"), folder.join("requirements.txt"));
    let wanted = read(requirements)?;
    if std::fs::read(&stamp).ok().as_ref() == Some(&wanted)
        && answers(programs.join("python")).await
    {
        return Ok(programs);
    }
    create(folder).await?;
    let quiet = ["install", "--quiet", "--disable-pip-version-check"];
    let mut pip = command(programs.join("pip"), &quiet);
    pip.args(["--only-binary=:all:", "--require-hashes", "--requirement"]).arg(requirements);
    output(pip).await?;
    // Written last, so that an interrupted installation is repeated.
    std::fs::write(stamp, wanted)?;
    Ok(programs)
}

/// Creates an empty virtual environment, and replaces an existing one.
async fn create(folder: &Path) -> Result<()> {
    let venv = || {
        let mut venv = command("python3", &["-m", "venv", "--clear"]);
        venv.arg(folder);
        output(venv)
    };
    if venv().await.is_err() {
        // Debian has the required module in a separate package.
        needs::install(&["python3-venv"]).await;
        venv().await?;
    }
    Ok(())
}

/// Installs the libraries that `tests/browser` lists, and copies its programs beside them, where
/// Node looks for libraries. Returns the folder.
pub(crate) async fn browser() -> Result<PathBuf> {
    let pinned = workspace().join("tests/browser");
    let folder = target().join("browser");
    std::fs::create_dir_all(&folder)?;
    node(&folder, &pinned).await?;
    for entry in std::fs::read_dir(&pinned)? {
        let path = entry?.path();
        if let (Some("mjs"), Some(name)) =
            (path.extension().and_then(|ending| ending.to_str()), path.file_name())
        {
            std::fs::write(folder.join(name), read(&path)?)?;
        }
    }
    Ok(folder)
}

/// Installs the packages of a `package-lock.json` into `node_modules` of a folder.
async fn node(folder: &Path, pinned: &Path) -> Result<()> {
    let lock = "package-lock.json";
    // npm writes this list at the end of an installation.
    let done = folder.join("node_modules/.package-lock.json").exists();
    if done && std::fs::read(folder.join(lock)).ok() == Some(read(&pinned.join(lock))?) {
        return Ok(());
    }
    if !answers("npm").await {
        needs::install(&["npm"]).await;
    }
    for name in ["package.json", lock] {
        std::fs::write(folder.join(name), read(&pinned.join(name))?)?;
    }
    let quiet = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    let mut npm = command("npm", &quiet);
    npm.current_dir(folder);
    output(npm).await?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
