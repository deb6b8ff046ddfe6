//! Watches the flag file, the page and the page's assets of each service.
//!
//! By looking at them a few times a second: that works on every file system, through links and in containers, and
//! for files that are not there yet.

use super::assets::Folder;
use super::message::{Files, Message, Notice};
use crate::config::{Config, Maintenance, Service};
use crate::model::ServiceName;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// The most of a page that is read.
const LARGEST_PAGE: u64 = 1 << 20;

/// The files of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) service: ServiceName,
    pub(super) flag: Option<PathBuf>,
    pub(super) page: Option<PathBuf>,
    pub(super) assets: Option<PathBuf>,
}

/// What tells a file's content from another one without reading it. Archives and copies set the time of modification to
/// what they like; that of the last change nobody can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The files as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Looker {
    pages: HashMap<PathBuf, (Stamp, Option<Bytes>)>,
    flags: HashSet<PathBuf>,
    unseen: HashSet<PathBuf>,
    folders: HashMap<PathBuf, Folder>,
}

/// The files of all services, looked at once, and what it takes to look at them again.
#[derive(Debug, Default)]
pub(super) struct FirstLook {
    pub(super) all: Vec<Watched>,
    pub(super) looker: Looker,
    pub(super) known: HashMap<ServiceName, Files>,
}

/// How long the first look may take, before a configuration is taken up without it. A file system may hang.
const FIRST_LOOK: Duration = Duration::from_secs(2);

impl FirstLook {
    /// Looks at the files of a configuration, so that a flag file that is there already is obeyed from the first
    /// request on.
    pub(super) async fn at(config: &Config) -> Self {
        let all: Vec<Watched> = config.services.iter().filter_map(watched).collect();
        if all.is_empty() {
            return Self::default();
        }
        let look = tokio::task::spawn_blocking({
            let all = all.clone();
            move || {
                let mut looker = Looker::default();
                let known = all.iter().map(|watched| (watched.service.clone(), looker.look(watched))).collect();
                (looker, known)
            }
        });
        if let Ok(Ok((looker, known))) = tokio::time::timeout(FIRST_LOOK, look).await {
            return Self { all, looker, known };
        }
        tracing::warn!("the maintenance files can't be looked at within {FIRST_LOOK:?}; going on without");
        Self { all, ..Self::default() }
    }

    /// The files of a service, which were like this `before`: what could not be looked at is as it was, as at every
    /// later look.
    pub(super) fn of(&mut self, service: &ServiceName, before: &Files) -> Files {
        let Some(watched) = self.all.iter().find(|watched| watched.service == *service) else {
            return Files::default();
        };
        let unseen = |flag: &&PathBuf| !self.known.contains_key(service) || self.looker.unseen.contains(*flag);
        if let Some(flag) = watched.flag.as_ref().filter(unseen).filter(|_| before.flag) {
            self.looker.flags.insert(flag.clone());
            if let Some(known) = self.known.get_mut(service) {
                known.flag = true;
            }
        }
        self.known.get(service).unwrap_or(before).clone()
    }
}

fn watched(service: &Service) -> Option<Watched> {
    let Maintenance { file: flag, page, assets, .. } = service.maintenance.clone();
    let any = flag.is_some() || page.is_some() || assets.is_some();
    any.then(|| Watched { service: service.name.clone(), flag, page, assets })
}

impl Looker {
    /// Looks at the files of a service. May block, as files do.
    pub(super) fn look(&mut self, watched: &Watched) -> Files {
        let flag = watched.flag.as_deref().filter(|flag| self.is_there(flag));
        let own = flag.filter(|flag| flag.extension().is_some_and(|extension| extension == "html"));
        let page = own.and_then(|file| self.page(file)).or_else(|| self.page(watched.page.as_deref()?));
        let folder = watched.assets.as_deref();
        let assets = folder.and_then(|folder| self.folders.entry(folder.to_owned()).or_default().look(folder));
        Files { flag: flag.is_some(), page, assets }
    }

    /// Whether a flag file is there; one that can't be looked at is as it was, since maintenance must not end by a
    /// fault of the file system.
    fn is_there(&mut self, flag: &Path) -> bool {
        match flag.symlink_metadata() {
            Ok(_) => {
                self.flags.insert(flag.to_owned());
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                self.flags.remove(flag);
            }
            Err(error) => {
                if self.unseen.insert(flag.to_owned()) {
                    tracing::warn!(file = %flag.display(), %error, "the flag file can't be looked at");
                }
                return self.flags.contains(flag);
            }
        }
        self.unseen.remove(flag);
        self.flags.contains(flag)
    }

    /// The content of a page, unless it is empty or can't be read. It is read again when it has changed.
    fn page(&mut self, file: &Path) -> Option<Bytes> {
        // Anything but a file, such as a pipe, could keep a reader waiting for ever.
        let Some(metadata) = file.metadata().ok().filter(Metadata::is_file) else {
            self.pages.remove(file);
            return None;
        };
        let stamp = Stamp::of(&metadata);
        if let Some((then, content)) = self.pages.get(file)
            && *then == stamp
        {
            return content.clone();
        }
        let content = read(file);
        self.pages.insert(file.to_owned(), (stamp, content.clone()));
        content
    }
}

fn read(file: &Path) -> Option<Bytes> {
    let mut content = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(LARGEST_PAGE + 1).read_to_end(&mut content));
    if let Err(error) = read {
        tracing::warn!(file = %file.display(), %error, "the maintenance page can't be read; the built-in one is shown");
        return None;
    }
    if content.len() as u64 > LARGEST_PAGE {
        tracing::warn!(file = %file.display(), "the maintenance page is larger than 1 MiB; the built-in one is shown");
        return None;
    }
    (!content.is_empty()).then(|| content.into())
}

/// Looks at the files again and again, and tells of changes. Ends when nobody listens.
pub(super) async fn watch(first: FirstLook, inbox: mpsc::Sender<Message>) {
    let FirstLook { mut all, mut looker, mut known } = first;
    if all.is_empty() {
        return;
    }
    loop {
        tokio::time::sleep(EVERY).await;
        let round = tokio::task::spawn_blocking(move || {
            let seen: Vec<(ServiceName, Files)> =
                all.iter().map(|watched| (watched.service.clone(), looker.look(watched))).collect();
            (all, looker, seen)
        })
        .await;
        let Ok((again, same, seen)) = round else { return };
        (all, looker) = (again, same);
        for (service, files) in seen {
            if known.get(&service) == Some(&files) {
                continue;
            }
            known.insert(service.clone(), files.clone());
            if inbox.send(Message::Notice(Notice::Files { service, files })).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_file_is_the_page_if_it_has_content_and_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (flag, page) = (folder.path().join("on.html"), folder.path().join("page.html"));
        let watched = Watched {
            service: "shop".parse().unwrap(),
            flag: Some(flag.clone()),
            page: Some(page.clone()),
            assets: None,
        };
        let mut looker = Looker::default();
        assert_eq!(looker.look(&watched), Files::default());
        std::fs::write(&page, "page").unwrap();
        assert_eq!(looker.look(&watched), Files { flag: false, page: Some("page".into()), assets: None });
        std::fs::write(&flag, "").unwrap();
        assert_eq!(looker.look(&watched), Files { flag: true, page: Some("page".into()), assets: None });
        std::fs::write(&flag, "own").unwrap();
        assert_eq!(looker.look(&watched), Files { flag: true, page: Some("own".into()), assets: None });
        std::fs::write(&flag, "other").unwrap();
        assert_eq!(looker.look(&watched).page, Some("other".into()));
        std::fs::remove_file(&flag).unwrap();
        assert_eq!(looker.look(&watched), Files { flag: false, page: Some("page".into()), assets: None });
        std::os::unix::fs::symlink("nowhere", &flag).unwrap();
        assert!(looker.look(&watched).flag, "a link is a file too, wherever it leads");
        let loops = Watched { flag: Some(folder.path().join("on.html/x")), ..watched };
        assert!(!looker.look(&loops).flag);
    }

    #[test]
    fn a_page_that_was_replaced_is_read_again_even_where_its_size_and_time_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let watched =
            Watched { service: "shop".parse().unwrap(), flag: None, page: Some(place("page.html")), assets: None };
        let mut looker = Looker::default();
        // As an archive unpacks it.
        let unpack = |name: &str, content: &str| {
            std::fs::write(place(name), content).unwrap();
            std::fs::File::open(place(name)).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        unpack("one", "one");
        std::os::unix::fs::symlink("one", place("page.html")).unwrap();
        assert_eq!(looker.look(&watched).page, Some("one".into()));
        unpack("two", "two");
        std::os::unix::fs::symlink("two", place("new")).unwrap();
        std::fs::rename(place("new"), place("page.html")).unwrap();
        assert_eq!(looker.look(&watched).page, Some("two".into()));
        unpack("two", "six");
        assert_eq!(looker.look(&watched).page, Some("six".into()));
    }

    #[test]
    fn a_flag_file_that_can_not_be_looked_at_is_as_it_was_before_a_reload() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("www");
        std::fs::create_dir(&folder).unwrap();
        let service: ServiceName = "shop".parse().unwrap();
        let flag = folder.join("on");
        let watched = Watched { service: service.clone(), flag: Some(flag.clone()), page: None, assets: None };
        let first = |seen: bool| {
            let mut first = FirstLook { all: vec![watched.clone()], ..FirstLook::default() };
            if seen {
                first.known.insert(service.clone(), first.looker.look(&watched));
            }
            first
        };
        let (on, off) = (Files { flag: true, ..Files::default() }, Files::default());
        assert_eq!(first(true).of(&service, &on), off, "it is gone");
        std::fs::remove_dir(&folder).unwrap();
        // Whoever follows it never gets to an end.
        std::os::unix::fs::symlink(&folder, &folder).unwrap();
        for seen in [true, false] {
            assert_eq!(first(seen).of(&service, &off), off);
            let mut first = first(seen);
            assert_eq!(first.of(&service, &on), on);
            assert_eq!(first.looker.look(&watched), on, "and stays so");
        }
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(first(true).of(&service, &on), off);
    }

    #[test]
    fn a_page_that_is_no_file_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("page.html");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let watched = Watched { service: "shop".parse().unwrap(), flag: None, page: Some(pipe), assets: None };
        assert_eq!(Looker::default().look(&watched), Files::default());
    }
}
