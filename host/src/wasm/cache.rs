//! Compiled components on disk, under a seal.
//!
//! Two files for each entry: `NAME.cwasm`, the machine code, and `NAME.seal`, a JSON object with
//! the [`ModuleReport`] and an HMAC-SHA256 over the entry's name, the report and the machine code.
//! Both are written to a temporary file and renamed, the seal last, so that an entry is whole or
//! absent. If the directory is lost, the modules are only compiled again.

use super::{EngineError, ModuleCompiler, ModuleReport};
use crate::crypto::sha256;
use crate::crypto::sha256::MacKey;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// A directory of compiled modules, with the compiler that fills it. Cheap to clone.
#[derive(Clone)]
pub struct ModuleCache(Arc<CachePlace>);

struct CachePlace {
    dir: PathBuf,
    key: [u8; 32],
    compiler: ModuleCompiler,
}

/// An entry whose seal was verified.
pub struct StoredEntry {
    pub report: ModuleReport,
    pub compiled: VouchedModule,
}

/// A compiled component that the seal vouches for.
pub struct VouchedModule(PathBuf);

#[derive(Serialize, Deserialize)]
struct EntrySeal {
    report: ModuleReport,
    hmac: String,
}

impl std::fmt::Debug for ModuleCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("dir", &self.0.dir)
            .field("compiler", &self.0.compiler)
            .finish_non_exhaustive()
    }
}

impl VouchedModule {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl ModuleCache {
    /// Opens the cache in `dir`, and creates the directory (mode 0700) if it is missing. `key`
    /// seals the entries. It must be secret. If it changes, every module is compiled again.
    pub fn new(dir: PathBuf, key: [u8; 32], compiler: ModuleCompiler) -> Result<Self, EngineError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(at(&dir))?;
        Ok(Self(Arc::new(CachePlace { dir, key, compiler })))
    }

    pub fn compiler(&self) -> &ModuleCompiler {
        &self.0.compiler
    }

    pub fn store(
        &self,
        name: &str,
        report: ModuleReport,
        compiled: &[u8],
    ) -> Result<StoredEntry, EngineError> {
        let hmac = hex::encode(self.entry_mac(name, &report, compiled)?);
        let seal = EntrySeal { report, hmac };
        let path = self.entry_path(name, "cwasm");
        self.replace_file(&path, compiled)?;
        let text = serde_json::to_vec(&seal).map_err(|e| at(&path)(e.into()))?;
        self.replace_file(&self.entry_path(name, "seal"), &text)?;
        Ok(StoredEntry { report: seal.report, compiled: VouchedModule(path) })
    }

    /// Reads an entry and verifies its seal. Returns `None` if the entry is missing or its seal
    /// does not fit.
    pub fn open(&self, name: &str) -> Result<Option<StoredEntry>, EngineError> {
        let (seal_path, path) = (self.entry_path(name, "seal"), self.entry_path(name, "cwasm"));
        let (seal, file) = match (fs::read(&seal_path), File::open(&path)) {
            (Ok(seal), Ok(file)) => (seal, file),
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            (_, Err(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            (Err(e), _) => return Err(at(&seal_path)(e)),
            (_, Err(e)) => return Err(at(&path)(e)),
        };
        let report = self.verify(name, &seal, file)?;
        if report.is_none() {
            tracing::warn!(
                module = name,
                "a cached module has a broken seal; it is compiled again"
            );
        }
        Ok(report.map(|report| StoredEntry { report, compiled: VouchedModule(path) }))
    }

    fn verify(
        &self,
        name: &str,
        seal: &[u8],
        compiled: File,
    ) -> Result<Option<ModuleReport>, EngineError> {
        let Ok(EntrySeal { report, hmac }) = serde_json::from_slice(seal) else { return Ok(None) };
        let Ok(hmac) = hex::decode(hmac) else { return Ok(None) };
        let mac = self.entry_mac(name, &report, compiled)?;
        Ok(bool::from(mac.ct_eq(&hmac)).then_some(report))
    }

    /// Removes an entry. An entry that cannot be removed is not used again.
    pub fn remove_entry(&self, name: &str) {
        for kind in ["seal", "cwasm"] {
            if let Err(error) = fs::remove_file(self.entry_path(name, kind)) {
                tracing::debug!(%error, module = name, "a cache entry stays behind");
            }
        }
    }

    fn entry_mac(
        &self,
        name: &str,
        report: &ModuleReport,
        mut compiled: impl io::Read,
    ) -> Result<[u8; 32], EngineError> {
        let fault = at(&self.0.dir);
        let report = serde_json::to_vec(report).map_err(|e| fault(e.into()))?;
        let mut mac = MacKey::new(&self.0.key).begin();
        for part in [name.as_bytes(), &report] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        // Machine code has megabytes, so it is read in pieces.
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = compiled.read(&mut piece).map_err(&fault)?;
            match piece.get(..read) {
                Some([]) | None => return Ok(sha256::finish(mac)),
                Some(bytes) => mac.update(bytes),
            }
        }
    }

    fn entry_path(&self, name: &str, kind: &str) -> PathBuf {
        self.0.dir.join(format!("{name}.{kind}"))
    }

    fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.0.dir)?;
            file.write_all(bytes)?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(at(path))
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> EngineError {
    move |source| EngineError::Cache { path: path.to_owned(), source }
}
