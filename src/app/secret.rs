//! The secret file.

use crate::routing::Secret;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Less can be guessed.
const SHORTEST: usize = 16;

/// Reads the secret, or makes one where there is no file yet.
pub(super) fn load(file: &Path) -> anyhow::Result<Secret> {
    let content = match fs::read(file) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => make(file)?,
        Err(error) => return Err(error).with_context(|| format!("the secret file {} can't be read", file.display())),
    };
    let material = content.trim_ascii();
    if material.len() < SHORTEST {
        bail!(
            "the secret file {} has less than {SHORTEST} characters; remove it, and a new one is made",
            file.display()
        );
    }
    let readable = fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if readable {
        tracing::warn!(file = %file.display(), "others can read the secret file; chmod 600 keeps it to its owner");
    }
    Ok(Secret::new(material))
}

fn make(file: &Path) -> anyhow::Result<Vec<u8>> {
    let content = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| opened.write_all(content.as_bytes()).and_then(|()| opened.sync_all()))
        .with_context(|| format!("the secret file {} can't be made", file.display()))?;
    Ok(content.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        load(&file).unwrap();
        let first = fs::read(&file).unwrap();
        load(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "short\n").unwrap();
        assert!(load(&file).unwrap_err().to_string().contains("less than 16"));
    }
}
