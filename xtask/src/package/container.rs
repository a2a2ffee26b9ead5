//! The image: only the executable, built by buildah without a registry.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, bail};
use tempfile::TempDir;
use tokio::process::Command;

use super::executable::Executable;
use super::{library_files, place_content, place_executable, place_file, print_size, trial};
use crate::needs;
use crate::process::{answers, command, output, succeed};

/// User and group of the server, outside the range for people.
const USER: &str = "65532:65532";

/// Names for that number, for programs that ask.
const PASSWD: &[u8] = b"waybill:x:65532:65532:waybill:/data:/sbin/nologin\n";

/// Likewise for the group.
const GROUP: &[u8] = b"waybill:x:65532:\n";

/// Lets the resolver of glibc read the runtime's /etc/hosts before it asks a name server.
const NSSWITCH: &[u8] = b"hosts: files dns\n";

/// The server's settings unless the operator overrides them.
const SETTINGS: [&str; 3] = [
    "WAYBILL_SERVER__LISTEN=0.0.0.0:8400",
    "WAYBILL_SERVER__DATA_DIR=/data",
    "WAYBILL_DATABASE__URL=sqlite:/data/waybill.db",
];

/// Writes the image to `out` as an archive for `docker load` and `podman load`, and starts it.
pub(super) async fn make(executable: &Executable, out: &Path) -> Result<()> {
    if !answers("buildah").await {
        needs::install(&["buildah"]).await;
    }
    if !answers("buildah").await {
        bail!("buildah is not here: apt-get install buildah");
    }
    let name = format!("waybill-{}-{}.tar", executable.version, std::env::consts::ARCH);
    let archive = out.join(name);
    if archive.exists() {
        // An archive of an image is never overwritten by buildah.
        std::fs::remove_file(&archive)?;
    }
    let image = format!("docker-archive:{}", archive.display());
    let store = ImageStore::create()?;
    let root = store.0.path().join("image");
    lay_out(executable, &root).await?;
    let built = store.create_container("scratch").await?;
    store.build(&built, &root, &executable.version, &image).await?;
    print_size(&archive)?;
    let imported = store.create_container(&image).await?;
    start_imported(&store, &imported).await
}

/// Writes the image's files under `root`.
async fn lay_out(executable: &Executable, root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    place_executable(executable, &root.join("usr/bin/waybill")).await?;
    for library in library_files::find(executable).await? {
        let inside = library.strip_prefix("/").map(PathBuf::from)?;
        place_file(&library, &root.join(inside), 0o755)?;
    }
    place_content(PASSWD, &root.join("etc/passwd"), 0o644)?;
    place_content(GROUP, &root.join("etc/group"), 0o644)?;
    place_content(NSSWITCH, &root.join("etc/nsswitch.conf"), 0o644)?;
    // Some kinds of endpoints keep a certificate there during a connection.
    let temporary = root.join("tmp");
    std::fs::create_dir_all(&temporary)?;
    Ok(std::fs::set_permissions(temporary, std::fs::Permissions::from_mode(0o1777))?)
}

/// Starts the server in a container.
async fn start_imported(store: &ImageStore, container: &str) -> Result<()> {
    // chroot needs no runtime and no cgroups, and keeps the network, so a port of loopback can be
    // reached from here.
    let isolation = ["run", "--isolation", "chroot", "--env", "WAYBILL_SERVER__LISTEN=127.0.0.1:0"];
    let program = [container, "--", "/usr/bin/waybill"];
    let mut probe = store.buildah(&isolation);
    let probed = probe.args(program).arg("--version").output().await?;
    if !probed.status.success() {
        let why = String::from_utf8_lossy(&probed.stderr);
        if is_forbidden(&why) {
            println!("skipped: starting the image because this machine forbids it: {}", why.trim());
            return Ok(());
        }
        bail!("the image does not start: {}", why.trim());
    }
    let mut serve = store.buildah(&isolation);
    serve.args(program).arg("serve");
    trial::start_once(serve, "the image").await
}

/// Returns whether buildah itself lacks permission to run anything, as in a container.
fn is_forbidden(why: &str) -> bool {
    why.to_ascii_lowercase().contains("operation not permitted")
}

/// A store of images and containers for one task. It is deleted with its folder, and does not touch
/// the user's own images.
#[derive(Debug)]
struct ImageStore(TempDir);

impl ImageStore {
    fn create() -> Result<Self> {
        Ok(Self(TempDir::with_prefix("waybill-image-")?))
    }

    /// Returns a buildah command on this store.
    fn buildah(&self, arguments: &[&str]) -> Command {
        // vfs copies instead of mounting, so nothing is left mounted when the folder is deleted.
        let mut buildah = command("buildah", &["--storage-driver", "vfs", "--root"]);
        buildah.arg(self.0.path().join("root")).arg("--runroot").arg(self.0.path().join("run"));
        buildah.args(arguments);
        buildah
    }

    /// Creates a container from an image, and returns its name.
    async fn create_container(&self, image: &str) -> Result<String> {
        let name = output(self.buildah(&["from", "--quiet", image])).await?;
        Ok(name.trim().to_owned())
    }

    /// Fills the container from `root`, and writes it as an image.
    async fn build(&self, container: &str, root: &Path, version: &str, image: &str) -> Result<()> {
        let mut copy = self.buildah(&["copy", "--quiet", container]);
        copy.arg(root).arg("/").stdout(Stdio::null());
        succeed(copy).await?;
        let data = TempDir::new()?;
        let mut copy = self.buildah(&["copy", "--quiet", "--chown", USER, container]);
        copy.arg(data.path()).arg("/data").stdout(Stdio::null());
        succeed(copy).await?;
        let mut config = self.buildah(&["config", "--user", USER, "--volume", "/data"]);
        config.args(["--workingdir", "/data", "--port", "8400", "--stop-signal", "SIGTERM"]);
        config.args(["--entrypoint", r#"["/usr/bin/waybill"]"#, "--cmd", "serve"]);
        config.args(SETTINGS.iter().flat_map(|setting| ["--env", setting]));
        let label = format!("org.opencontainers.image.version={version}");
        config.args(["--label", "org.opencontainers.image.title=waybill", "--label", &label]);
        config.args(["--label", "org.opencontainers.image.licenses=Apache-2.0", container]);
        succeed(config).await?;
        let target = format!("{image}:localhost/waybill:{version}");
        // Docker's own format: both Docker and Podman load it.
        let commit = self.buildah(&["commit", "--quiet", "--format", "docker", container, &target]);
        output(commit).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_not_a_machine_that_forbids() {
        assert!(is_forbidden("error creating mount: Operation not permitted"));
        assert!(!is_forbidden("fork/exec /usr/bin/waybill: no such file or directory"));
    }
}
