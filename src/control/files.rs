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
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
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

/// The files as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Looker {
    pages: HashMap<PathBuf, (Option<SystemTime>, u64, Option<Bytes>)>,
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
        let Some(metadata) = file.metadata().ok().filter(std::fs::Metadata::is_file) else {
            self.pages.remove(file);
            return None;
        };
        let (modified, length) = (metadata.modified().ok(), metadata.len());
        if let Some((then, size, content)) = self.pages.get(file)
            && (*then, *size) == (modified, length)
        {
            return content.clone();
        }
        let content = read(file);
        self.pages.insert(file.to_owned(), (modified, length, content.clone()));
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
    fn a_page_that_is_no_file_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("page.html");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let watched = Watched { service: "shop".parse().unwrap(), flag: None, page: Some(pipe), assets: None };
        assert_eq!(Looker::default().look(&watched), Files::default());
    }
}
