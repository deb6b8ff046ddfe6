//! Reads the folder with what an operator's page needs.

use super::files::Stamp;
use crate::routing::{Asset, Assets};
use bytes::Bytes;
use http::HeaderValue;
use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most that is looked at in a folder, with those below it: it is looked through several times a second.
const MOST_ENTRIES: usize = 500;
/// How deep folders are followed.
const DEEPEST: usize = 8;
/// The most bytes of one file.
const LARGEST_FILE: u64 = 4 << 20;
/// The most bytes of all files: they are kept in memory.
const LARGEST_FOLDER: u64 = 32 << 20;

/// A folder as it was at the last look.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: HashMap<PathBuf, Seen>,
    assets: Option<Arc<Assets>>,
    /// What was said of it last, so that it is said once.
    told: Vec<String>,
}

/// A file as it was at the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    stamp: Stamp,
    asset: Option<Asset>,
}

/// One look at a folder.
struct Look<'f> {
    /// The folder itself, without links.
    root: PathBuf,
    before: &'f HashMap<PathBuf, Seen>,
    files: HashMap<PathBuf, Seen>,
    assets: HashMap<Box<str>, Asset>,
    entries: usize,
    bytes: u64,
    /// Why something in it is left out.
    faults: Vec<String>,
}

impl Folder {
    /// Looks at it again; what has not changed is not read again. May block, as files do.
    pub(super) fn look(&mut self, folder: &Path) -> Option<Arc<Assets>> {
        // Only a folder that is there can be outside of itself.
        let Ok(root) = folder.canonicalize() else {
            *self = Self::default();
            return None;
        };
        let mut look = Look {
            root: root.clone(),
            before: &self.files,
            files: HashMap::new(),
            assets: HashMap::new(),
            entries: 0,
            bytes: 0,
            faults: Vec::new(),
        };
        look.folder(&root, "", 0);
        let Look { files, assets, faults, .. } = look;
        if self.told != faults {
            for fault in &faults {
                tracing::warn!(folder = %folder.display(), "an asset is left out: {fault}");
            }
            self.told = faults;
        }
        if files != self.files || self.assets.is_none() {
            self.files = files;
            self.assets = Some(Arc::new(Assets(assets)));
        }
        self.assets.clone()
    }
}

impl Look<'_> {
    /// `prefix` is what the names in it begin with for visitors.
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) {
        let entries = match folder.read_dir() {
            Ok(entries) => entries,
            Err(error) => return self.leave_out(prefix, &error.to_string()),
        };
        for entry in entries.filter_map(Result::ok) {
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                if self.entries == MOST_ENTRIES + 1 {
                    self.faults.push(format!("there are more than {MOST_ENTRIES} files and folders"));
                }
                return;
            }
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else {
                self.leave_out(&file_name.to_string_lossy(), "its name is no UTF-8");
                continue;
            };
            // What begins with a dot is hidden on purpose.
            if !name.starts_with('.') {
                self.entry(&entry.path(), &format!("{prefix}{name}"), depth);
            }
        }
    }

    fn entry(&mut self, path: &Path, name: &str, depth: usize) {
        // A link may lead anywhere, and what it leads to is what counts.
        let real = match path.canonicalize().and_then(|real| Ok((real.metadata()?, real))) {
            Ok((metadata, real)) if self.is_inside(&real) => (metadata, real),
            Ok(_) => return self.leave_out(name, "it leads out of the folder, or to what is hidden in it"),
            Err(error) => return self.leave_out(name, &error.to_string()),
        };
        let (metadata, real) = real;
        if metadata.is_dir() && depth < DEEPEST {
            self.folder(&real, &format!("{name}/"), depth + 1);
        } else if metadata.is_dir() {
            self.leave_out(name, &format!("folders are followed {DEEPEST} deep"));
        } else if metadata.is_file() {
            self.file(&real, name, &metadata);
        } else {
            self.leave_out(name, "it is no file");
        }
    }

    fn is_inside(&self, real: &Path) -> bool {
        real.strip_prefix(&self.root)
            .is_ok_and(|inner| inner.components().all(|part| !part.as_os_str().as_encoded_bytes().starts_with(b".")))
    }

    fn file(&mut self, real: &Path, name: &str, metadata: &Metadata) {
        let (stamp, length) = (Stamp::of(metadata), metadata.len());
        if length > LARGEST_FILE {
            return self.leave_out(name, &format!("it has more than {LARGEST_FILE} bytes"));
        }
        self.bytes += length;
        if self.bytes > LARGEST_FOLDER {
            return self.leave_out(name, &format!("all together have more than {LARGEST_FOLDER} bytes"));
        }
        // By name and not by file: the content type goes by the name.
        let key = PathBuf::from(name);
        let known = self.before.get(&key).filter(|seen| seen.stamp == stamp);
        let asset = match known {
            Some(seen) => seen.asset.clone(),
            None => match read(real) {
                Ok(content) => Some(asset(name, content)),
                Err(error) => {
                    self.leave_out(name, &error.to_string());
                    // It is tried again at the next look.
                    return;
                }
            },
        };
        if let Some(asset) = &asset {
            self.assets.insert(name.into(), asset.clone());
        }
        self.files.insert(key, Seen { stamp, asset });
    }

    fn leave_out(&mut self, name: &str, why: &str) {
        self.faults.push(format!("{name:?}: {why}"));
    }
}

fn read(file: &Path) -> io::Result<Bytes> {
    let mut content = Vec::new();
    std::fs::File::open(file)?.take(LARGEST_FILE).read_to_end(&mut content)?;
    Ok(content.into())
}

fn asset(name: &str, content: Bytes) -> Asset {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let text = guess.type_() == mime_guess::mime::TEXT;
    let content_type = if text { format!("{}; charset=utf-8", guess.essence_str()) } else { guess.to_string() };
    let etag = format!("\"{}\"", &blake3::hash(&content).to_hex()[..32]);
    let header = |text: &str, or| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(or));
    Asset { content_type: header(&content_type, "application/octet-stream"), etag: header(&etag, "\"\""), content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(assets: Option<&Arc<Assets>>) -> Vec<String> {
        let mut names: Vec<String> = assets.unwrap().0.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_found_in_folders_with_their_types_and_read_again_when_they_change() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let mut folder = Folder::default();
        assert_eq!(folder.look(&path("assets")), None);
        std::fs::create_dir_all(path("assets/css")).unwrap();
        std::fs::write(path("assets/css/site.css"), "a").unwrap();
        std::fs::write(path("assets/logo one.svg"), "<svg/>").unwrap();
        std::fs::write(path("assets/what.ever-else"), "?").unwrap();
        let first = folder.look(&path("assets")).unwrap();
        let of = |assets: &Assets, name: &str| assets.0[name].clone();
        for (name, content_type) in [
            ("css/site.css", "text/css; charset=utf-8"),
            ("logo one.svg", "image/svg+xml"),
            ("what.ever-else", "application/octet-stream"),
        ] {
            assert_eq!(of(&first, name).content_type, content_type);
        }
        let again = folder.look(&path("assets")).unwrap();
        assert!(Arc::ptr_eq(&first, &again), "nothing has changed");
        std::fs::write(path("assets/css/site.css"), "bb").unwrap();
        std::fs::remove_file(path("assets/what.ever-else")).unwrap();
        let later = folder.look(&path("assets")).unwrap();
        assert_eq!(names(Some(&later)), ["css/site.css", "logo one.svg"]);
        assert_eq!(of(&later, "css/site.css").content, "bb");
        assert_ne!(of(&later, "css/site.css").etag, of(&first, "css/site.css").etag);
        assert_eq!(of(&later, "logo one.svg"), of(&first, "logo one.svg"));
    }

    #[test]
    fn nothing_hidden_nothing_outside_and_nothing_that_is_no_file_is_given() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir_all(path("assets/.git")).unwrap();
        std::fs::create_dir_all(path("assets/sub")).unwrap();
        for file in ["secret", "assets/.env", "assets/.git/config", "assets/sub/a.txt"] {
            std::fs::write(path(file), file).unwrap();
        }
        symlink(path("secret"), path("assets/out")).unwrap();
        symlink("../secret", path("assets/up")).unwrap();
        symlink("..", path("assets/parent")).unwrap();
        symlink(".env", path("assets/env")).unwrap();
        symlink(".git", path("assets/git")).unwrap();
        symlink("nowhere", path("assets/broken")).unwrap();
        symlink("sub/a.txt", path("assets/inside.txt")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("assets/pipe")).status().unwrap().success());
        assert_eq!(names(Folder::default().look(&path("assets")).as_ref()), ["inside.txt", "sub/a.txt"]);
        // The folder itself may be a link, to the assets of the present release.
        symlink("assets", path("current")).unwrap();
        assert_eq!(names(Folder::default().look(&path("current")).as_ref()), ["inside.txt", "sub/a.txt"]);
    }

    #[test]
    fn links_in_a_circle_large_files_and_many_files_have_an_end() {
        let place = tempfile::tempdir().unwrap();
        symlink(".", place.path().join("again")).unwrap();
        std::fs::write(place.path().join("a.txt"), "a").unwrap();
        let large = std::fs::File::create(place.path().join("large.bin")).unwrap();
        large.set_len(LARGEST_FILE + 1).unwrap();
        let found = names(Folder::default().look(place.path()).as_ref());
        assert_eq!(found.len(), DEEPEST + 1, "{found:?}");
        assert!(found.iter().all(|name| name.ends_with("a.txt")), "{found:?}");
        std::fs::remove_file(place.path().join("again")).unwrap();
        for number in 0..MOST_ENTRIES + 10 {
            std::fs::write(place.path().join(format!("{number}.txt")), "").unwrap();
        }
        let mut folder = Folder::default();
        assert!(folder.look(place.path()).unwrap().0.len() <= MOST_ENTRIES);
        assert!(folder.told.iter().any(|fault| fault.contains("more than 500")), "{:?}", folder.told);
    }

    #[test]
    fn all_files_together_are_bounded() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..=LARGEST_FOLDER / LARGEST_FILE {
            let file = std::fs::File::create(place.path().join(format!("{number}.bin"))).unwrap();
            file.set_len(LARGEST_FILE).unwrap();
        }
        let assets = Folder::default().look(place.path()).unwrap();
        assert_eq!(assets.0.len() as u64, LARGEST_FOLDER / LARGEST_FILE);
    }
}
