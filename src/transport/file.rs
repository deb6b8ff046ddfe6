//! Files of certificates and keys, which are small, and read whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The largest that is read, in bytes. All authorities of an operating system are a quarter of it.
const LARGEST: u64 = 1024 * 1024;

/// All of a file.
///
/// # Errors
/// When it can't be read, is larger than 1 MiB, or is no file: a named pipe is not opened, because that waits for whoever
/// writes to it.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no file; write the path of one in PEM"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} KiB", LARGEST / 1024)));
    }
    Ok(bytes)
}
