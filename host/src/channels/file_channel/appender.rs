//! The one task that writes the files of an endpoint. Lines that arrive while it waits for the disk
//! share the next wait.

use super::segment::{FileSegment, finish_left_files};
use crate::channels::line_form::LineForm;
use crate::channels::publish::{PublishError, PublishOutcome};
use crate::net::error_class::ErrorClass;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Most lines that wait to be written. Further deliveries wait for room.
const QUEUED: usize = 1_000;
/// Most lines that share one wait for the disk.
const BATCH: usize = 1_000;

/// The rules for the files of an endpoint.
#[derive(Debug)]
pub struct FileRules {
    /// The folder of the URL, before symbolic links are resolved.
    pub folder: PathBuf,
    /// The folders that the configuration permits.
    pub permitted: Vec<PathBuf>,
    /// The beginning of the files' names.
    pub name: String,
    pub form: LineForm,
    /// The size at which a file is finished, in bytes.
    pub max_bytes: u64,
    /// The time after which a file is finished.
    pub max_age: Duration,
}

/// A line that waits for the disk.
#[derive(Debug)]
struct QueuedLine {
    delivery_id: String,
    line: Vec<u8>,
    written: oneshot::Sender<PublishOutcome>,
}

/// The sending side of the task's queue.
#[derive(Debug, Clone)]
pub struct FileAppender(mpsc::Sender<QueuedLine>);

impl FileAppender {
    /// Starts the task. When the last appender is dropped, the task finishes its file and ends.
    pub fn start(rules: Arc<FileRules>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED);
        drop(tokio::spawn(append_lines(rules, queued)));
        Self(queue)
    }

    /// Appends a line, and waits until it is durable.
    pub async fn append(&self, delivery_id: &str, line: Vec<u8>) -> PublishOutcome {
        let (written, outcome) = oneshot::channel();
        let queued = QueuedLine { delivery_id: delivery_id.to_owned(), line, written };
        let ended = || {
            PublishOutcome::TryAgain(PublishError::lost("the task that writes the files has ended"))
        };
        if self.0.send(queued).await.is_err() {
            return ended();
        }
        outcome.await.unwrap_or_else(|_| ended())
    }
}

async fn append_lines(rules: Arc<FileRules>, mut queued: mpsc::Receiver<QueuedLine>) {
    let mut current: Option<(FileSegment, Instant)> = None;
    loop {
        let due = current.as_ref().map(|(_, begun)| *begun + rules.max_age);
        let next = match due {
            Some(due) => timeout_at(due, queued.recv()).await,
            None => Ok(queued.recv().await),
        };
        let is_end = matches!(next, Ok(None));
        let Ok(Some(first)) = next else {
            if let Some((segment, _)) = current.take() {
                finish_in_background(segment).await;
            }
            if is_end {
                return;
            }
            continue;
        };
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(line) = queued.try_recv()
        {
            batch.push(line);
        }
        let (begun, segment) = match current.take() {
            Some((segment, begun)) => (begun, Some(segment)),
            None => (Instant::now(), None),
        };
        let own_rules = Arc::clone(&rules);
        let writing =
            tokio::task::spawn_blocking(move || write_batch(&own_rules, segment, batch)).await;
        current = writing.ok().flatten().map(|segment| (segment, begun));
    }
}

async fn finish_in_background(segment: FileSegment) {
    let finished = tokio::task::spawn_blocking(|| segment.finish()).await;
    if let Ok(Err(why)) = finished {
        tracing::error!(%why, "cannot rename a finished file; it keeps its name with .part");
    }
}

/// Writes lines and reports the outcome to each. Returns the file if it can take more lines.
fn write_batch(
    rules: &FileRules,
    segment: Option<FileSegment>,
    batch: Vec<QueuedLine>,
) -> Option<FileSegment> {
    let first = batch.first().map_or("", |line| line.delivery_id.as_str()).to_owned();
    let lines: Vec<u8> = batch.iter().flat_map(|line| line.line.iter().copied()).collect();
    let opened = segment.map_or_else(|| open_segment(rules, &first), Ok);
    let written = opened.and_then(|mut segment| segment.append(&lines).map(|()| segment));
    let outcome = match &written {
        Ok(_) => PublishOutcome::delivered("written and synchronised"),
        Err(why) => {
            let is_closed =
                matches!(why.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound);
            let class = if is_closed { ErrorClass::Connect } else { ErrorClass::Deferred };
            let folder = rules.folder.display();
            let detail = format!("the file could not be written in {folder}: {why}");
            PublishOutcome::TryAgain(PublishError::new(class, detail))
        }
    };
    for line in batch {
        drop(line.written.send(outcome.clone()));
    }
    let segment = written.ok()?;
    if segment.length() < rules.max_bytes {
        return Some(segment);
    }
    if let Err(why) = segment.finish() {
        tracing::error!(%why, "cannot rename a finished file; it keeps its name with .part");
    }
    None
}

/// Finishes the files that a killed process left in the folder, and creates a new one.
fn open_segment(rules: &FileRules, delivery_id: &str) -> io::Result<FileSegment> {
    let folder = permitted_folder(&rules.folder, &rules.permitted)?;
    finish_left_files(&folder, &rules.name, &rules.form)?;
    FileSegment::create(&folder, &rules.name, delivery_id, &rules.form)
}

/// Creates the folder if it does not exist, and returns it with all symbolic links resolved. Fails
/// if it is not inside a permitted folder.
fn permitted_folder(folder: &Path, permitted: &[PathBuf]) -> io::Result<PathBuf> {
    let refused = || {
        let why = "it is not in a folder that `channels.file_directories` names";
        io::Error::new(io::ErrorKind::PermissionDenied, why)
    };
    let roots: Vec<PathBuf> =
        permitted.iter().filter_map(|root| root.canonicalize().ok()).collect();
    let is_inside = |path: &Path| roots.iter().any(|root| path.starts_with(root));
    // The nearest existing ancestor decides where the missing folders would be created.
    let existing = folder.ancestors().find(|part| part.exists()).ok_or_else(refused)?;
    if !is_inside(&existing.canonicalize()?) {
        return Err(refused());
    }
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    if is_inside(&folder) { Ok(folder) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_leads_out_of_a_permitted_folder() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let permitted = [inside.path().to_owned()];
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).unwrap();
        assert!(permitted_folder(&inside.path().join("new/deep"), &permitted).is_ok());
        for folder in
            [outside.path().to_owned(), inside.path().join("link"), inside.path().join("link/x")]
        {
            let why = permitted_folder(&folder, &permitted).unwrap_err();
            assert_eq!(why.kind(), io::ErrorKind::PermissionDenied, "{}", folder.display());
        }
        assert!(permitted_folder(inside.path(), &[]).is_err());
    }

    #[tokio::test]
    async fn lines_are_durable_before_they_succeed_and_files_are_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let rules = FileRules {
            folder: folder.path().to_owned(),
            permitted: vec![folder.path().to_owned()],
            name: "crm".to_owned(),
            form: LineForm::Ndjson,
            max_bytes: 6,
            max_age: Duration::from_mins(1),
        };
        let appender = FileAppender::start(Arc::new(rules));
        for id in ["dlv_1", "dlv_2", "dlv_3"] {
            let outcome = appender.append(id, b"{}\n".to_vec()).await;
            assert!(matches!(outcome, PublishOutcome::Delivered { .. }), "{outcome:?}");
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("crm-dlv_1.ndjson"), "{}\n{}\n");
        assert_eq!(read("crm-dlv_3.ndjson.part"), "{}\n");
    }
}
