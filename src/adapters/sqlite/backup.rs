//! A consistent copy of the state while serving.

use super::{Failure, opening};
use crate::control::ports::StoreError;
use rusqlite::Connection;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

fn refused(file: &Path, reason: impl std::fmt::Display) -> Failure {
    StoreError::Unavailable(format!("the backup {} can't be written: {reason}", file.display())).into()
}

/// Writes everything into a new file. The file appears whole, or not at all, and survives a loss of power.
pub(super) fn write(connection: &Connection, file: &Path) -> Result<(), Failure> {
    if file.symlink_metadata().is_ok() {
        return Err(refused(file, "it is there already"));
    }
    let part = unfinished(file).map_err(|error| refused(file, error))?;
    let written = copy(connection, &part).and_then(|()| put(&part, file).map_err(|error| refused(file, error)));
    if written.is_err() {
        // Best effort: the error that is told is the first one.
        let _ = fs::remove_file(&part);
    }
    written
}

/// The name of the file while it is being written, in the same folder; nothing is there.
fn unfinished(file: &Path) -> io::Result<PathBuf> {
    let name = file.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(".part");
    let part = file.with_file_name(part);
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // A backup that was killed had left it.
        _ => Ok(part),
    }
}

fn copy(connection: &Connection, part: &Path) -> Result<(), Failure> {
    opening::make(part).map_err(|error| refused(part, error))?;
    let target = part.to_str().ok_or_else(|| refused(part, "its name is not UTF-8"))?;
    connection.execute("vacuum into ?1", [target]).map_err(|error| refused(part, error))?;
    Ok(())
}

fn put(part: &Path, file: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    fs::rename(part, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
