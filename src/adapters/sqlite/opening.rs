//! From a path to a locked, checked connection, or to an error that says what to do.

use super::upgrade::{self, APPLICATION, SCHEMA};
use crate::control::ports::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process serves with it.
    #[error("the state {} is in use by another process: it holds the lock on {}; stop that one first", state.display(), lock.display())]
    InUse {
        /// The state.
        state: PathBuf,
        /// The file that is locked.
        lock: PathBuf,
    },
    /// The folder is not there.
    #[error("the folder {} of the state file is not there; make it, or set `path` in [state]", .0.display())]
    NoFolder(PathBuf),
    /// The path names something other than a file.
    #[error("the state {} is not a file; set `path` in [state] to a file", .0.display())]
    NotAFile(PathBuf),
    /// The system refuses.
    #[error("no permission to write the state {}: the user of this process needs to write the file and its folder", .0.display())]
    Permission(PathBuf),
    /// The disk takes no writes.
    #[error("the state {} is on a read-only file system", .0.display())]
    ReadOnly(PathBuf),
    /// It is no database at all.
    #[error("{} is not a SQLite database; move it away, or set `path` in [state] to another file", .0.display())]
    NotADatabase(PathBuf),
    /// It is another program's database.
    #[error("{} is a database of another program; set `path` in [state] to another file", .0.display())]
    Foreign(PathBuf),
    /// A later version of this program wrote it.
    #[error(
        "the state {} was written by a newer version of cutover (schema {found}, this one knows {known}); \
         run that version, or restore a backup made before it", path.display()
    )]
    Newer {
        /// The state.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema of this program.
        known: i64,
    },
    /// It is damaged.
    #[error("the state {} is damaged ({detail}); restore a backup, or move it away to start anew", path.display())]
    Damaged {
        /// The state.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// Anything else.
    #[error("the state {} can't be opened: {detail}", path.display())]
    Other {
        /// The state.
        path: PathBuf,
        /// What the system or SQLite says.
        detail: String,
    },
}

impl OpenError {
    pub(super) fn from_io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission(path),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            io::ErrorKind::IsADirectory => Self::NotAFile(path),
            _ => Self::Other { path, detail: error.to_string() },
        }
    }

    fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, detail: error.to_string() },
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => not_writable(&path),
            _ => Self::Other { path, detail: reason(error) },
        }
    }
}

/// What went wrong in a call, as a sentence.
pub(super) fn told(path: &Path, error: &rusqlite::Error) -> StoreError {
    let sentence = format!("{}: {}", path.display(), reason(error));
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(sentence),
        _ => StoreError::Unavailable(sentence),
    }
}

fn reason(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::ReadOnly) => "the file or its file system is read-only".to_owned(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program has locked it".to_owned(),
        Some(ErrorCode::CannotOpen) => {
            "it, or a file that belongs beside it, can't be opened; is its disk there?".to_owned()
        }
        Some(ErrorCode::SystemIoFailure) => format!("the disk failed ({error})"),
        _ => error.to_string(),
    }
}

/// The one name of a state file, whatever links lead to it, so that all who open it find the same lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    match path.canonicalize() {
        Ok(whole) if whole.is_file() => return Ok(whole),
        Ok(whole) => return Err(OpenError::NotAFile(whole)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::from_io(path, &error)),
    }
    let name = path.file_name().ok_or_else(|| OpenError::NotAFile(path.to_owned()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match folder.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(folder.join(name)),
        Ok(folder) => Err(OpenError::NoFolder(folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::NoFolder(folder.to_owned())),
        Err(error) => Err(OpenError::from_io(folder, &error)),
    }
}

/// A lock of the operating system on a sibling of the state. It ends with the process, however that ends.
///
/// The state itself is not locked, so that other programs can still read it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

fn lock_path(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

impl Lock {
    pub(super) fn take(state: &Path) -> Result<Self, OpenError> {
        let lock = lock_path(state);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(|error| OpenError::from_io(state, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { state: state.to_owned(), lock }),
            Err(TryLockError::Error(error)) => Err(OpenError::from_io(state, &error)),
        }
    }
}

/// Which file a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // By name only: to open and close the file would drop SQLite's own locks on it (POSIX).
        let metadata = path.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Why the state can't be written: the system says it for the sibling, which can be opened and closed freely.
fn not_writable(path: &Path) -> OpenError {
    match OpenOptions::new().append(true).open(lock_path(path)) {
        Err(error) => OpenError::from_io(path, &error),
        Ok(_) => OpenError::Permission(path.to_owned()),
    }
}

/// Makes an empty file where there is none. What gates are asked with is part of the state, and may be a secret.
pub(super) fn make(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // To open and close a file that is there would drop SQLite's own locks on it (POSIX); this did neither.
        _ => Ok(()),
    }
}

/// How long a call waits for another program that reads the state.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection as every call needs it.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let set_up = || -> rusqlite::Result<(Connection, bool)> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        let mode: String = connection.query_row("pragma journal_mode = wal", [], |row| row.get(0))?;
        connection.execute_batch("pragma synchronous = full; pragma foreign_keys = on")?;
        Ok((connection, mode.eq_ignore_ascii_case("wal")))
    };
    let (connection, logged_ahead) = set_up().map_err(|error| OpenError::from_sqlite(path, &error))?;
    if connection.is_readonly("main").unwrap_or(true) {
        // SQLite opens what it may not write for reading, without a word.
        return Err(not_writable(path));
    }
    if !logged_ahead {
        let detail = "its file system can't hold a write-ahead log (a network share?)".to_owned();
        return Err(OpenError::Other { path: path.to_owned(), detail });
    }
    Ok(connection)
}

/// A connection to a whole database with the schema of this version.
pub(super) fn connect_and_check(path: &Path) -> Result<Connection, OpenError> {
    let mut connection = connect(path)?;
    let sqlite = |error: rusqlite::Error| OpenError::from_sqlite(path, &error);
    let found: String = connection.query_row("pragma quick_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if found != "ok" {
        return Err(OpenError::Damaged { path: path.to_owned(), detail: found });
    }
    let version = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(sqlite);
    let (schema, application) = (version("pragma user_version")?, version("pragma application_id")?);
    let objects = version("select count(*) from sqlite_schema")?;
    match (application, schema) {
        (APPLICATION, SCHEMA) => Ok(connection),
        (APPLICATION, newer) if newer > SCHEMA => {
            Err(OpenError::Newer { path: path.to_owned(), found: newer, known: SCHEMA })
        }
        (APPLICATION, 1..SCHEMA) => {
            upgrade::bring_up(&mut connection, schema).map_err(sqlite)?;
            // Until then it held nothing that could be a secret. Where it is another user's, that one decides.
            if let Err(error) = fs::set_permissions(path, Permissions::from_mode(0o600)) {
                tracing::warn!(path = %path.display(), %error, "whoever may read the state reads what gates are asked with");
            }
            Ok(connection)
        }
        (0, 0) if objects == 0 => upgrade::bring_up(&mut connection, 0).map_err(sqlite).map(|()| connection),
        _ => Err(OpenError::Foreign(path.to_owned())),
    }
}
