//! The image: the executable and nothing else, built by buildah without a registry.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::executable::Executable;
use super::{library_files, place_content, place_executable, place_file, print_size, trial};
use crate::needs;
use crate::process::{answers, command, output, succeed};

/// User and group of the server, outside of what systems give to people.
const USER: &str = "65532:65532";

/// Names for that number, for programs that ask.
const PASSWD: &[u8] = b"waybill:x:65532:65532:waybill:/data:/sbin/nologin\n";

/// Likewise for the group.
const GROUP: &[u8] = b"waybill:x:65532:\n";

/// Lets the resolver of glibc read the runtime's /etc/hosts before it asks a name server.
const NSSWITCH: &[u8] = b"hosts: files dns\n";

/// What the server is told where the operator says nothing else.
const SETTINGS: [&str; 3] = [
    "WAYBILL_SERVER__LISTEN=0.0.0.0:8400",
    "WAYBILL_SERVER__DATA_DIR=/data",
    "WAYBILL_DATABASE__URL=sqlite:/data/waybill.db",
];

/// Makes the image in `out` as an archive for `docker load` and `podman load`, and starts it.
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
        // An archive of an image is never written over.
        std::fs::remove_file(&archive)?;
    }
    let folder = TempDir::new()?;
    let root = folder.path().join("root");
    lay_out(executable, &root).await?;
    let image = format!("docker-archive:{}", archive.display());
    let container = WorkingContainer::create("scratch").await?;
    container.build(&root, &executable.version, &image).await?;
    drop(container);
    print_size(&archive)?;
    start_image(&image).await
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
    // Some kinds of endpoints keep a certificate there for the time of a connection.
    let temporary = root.join("tmp");
    std::fs::create_dir_all(&temporary)?;
    Ok(std::fs::set_permissions(temporary, std::fs::Permissions::from_mode(0o1777))?)
}

/// Imports the archive again and starts the server in it.
async fn start_image(image: &str) -> Result<()> {
    let container = WorkingContainer::create(image).await?;
    // chroot needs no runtime and no cgroups, and leaves the network as it is: a port of loopback
    // can be asked from here.
    let isolation = ["run", "--isolation", "chroot", "--env", "WAYBILL_SERVER__LISTEN=127.0.0.1:0"];
    let program = ["--", "/usr/bin/waybill"];
    let mut probe = command("buildah", &isolation);
    probe.arg(&container.name).args(program).arg("--version");
    let probed = probe.output().await?;
    if !probed.status.success() {
        let why = String::from_utf8_lossy(&probed.stderr);
        if is_forbidden(&why) {
            println!("skipped: starting the image because this machine forbids it: {}", why.trim());
            return Ok(());
        }
        bail!("the image does not start: {}", why.trim());
    }
    let mut serve = command("buildah", &isolation);
    serve.arg(&container.name).args(program).arg("serve");
    // SIGTERM ends buildah's own processes too, and its status is then not the server's.
    trial::start_once(serve, "the image").await.map(drop)
}

/// Whether buildah itself was refused what it needs to run anything, as in a container.
fn is_forbidden(why: &str) -> bool {
    why.to_ascii_lowercase().contains("operation not permitted")
}

/// A container of buildah, removed when this is dropped.
#[derive(Debug)]
struct WorkingContainer {
    name: String,
}

impl WorkingContainer {
    async fn create(from: &str) -> Result<Self> {
        let name = output(command("buildah", &["from", "--quiet", from])).await?;
        Ok(Self { name: name.trim().to_owned() })
    }

    /// Fills the container from `root`, and writes it as an image.
    async fn build(&self, root: &Path, version: &str, image: &str) -> Result<()> {
        let mut copy = command("buildah", &["copy", "--quiet", &self.name]);
        copy.arg(root).arg("/").stdout(Stdio::null());
        succeed(copy).await?;
        let data = TempDir::new()?;
        let mut copy = command("buildah", &["copy", "--quiet", "--chown", USER, &self.name]);
        copy.arg(data.path()).arg("/data").stdout(Stdio::null());
        succeed(copy).await?;
        let mut config = command("buildah", &["config", "--user", USER, "--volume", "/data"]);
        config.args(["--workingdir", "/data", "--port", "8400"]);
        config.args(["--entrypoint", r#"["/usr/bin/waybill"]"#, "--cmd", "serve"]);
        config.args(["--stop-signal", "SIGTERM"]);
        config.args(SETTINGS.iter().flat_map(|setting| ["--env", setting]));
        let label = format!("org.opencontainers.image.version={version}");
        config.args(["--label", "org.opencontainers.image.title=waybill", "--label", &label]);
        config.args(["--label", "org.opencontainers.image.licenses=Apache-2.0", &self.name]);
        succeed(config).await?;
        let target = format!("{image}:localhost/waybill:{version}");
        // Docker's own format: both Docker and Podman load it.
        let commit = ["commit", "--quiet", "--format", "docker", &self.name, &target];
        output(command("buildah", &commit)).await.map(drop)
    }
}

impl Drop for WorkingContainer {
    fn drop(&mut self) {
        let mut remove = std::process::Command::new("buildah");
        remove.args(["rm", &self.name]).stdout(Stdio::null()).stderr(Stdio::null());
        // What is left is listed by `buildah containers`.
        drop(remove.status());
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
