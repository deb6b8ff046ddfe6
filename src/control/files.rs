//! Watches the flag file and the page of each service.
//!
//! By looking at them a few times a second: that works on every file system, through links and in containers, and
//! for files that are not there yet.

use super::message::{Files, Message, Notice};
use crate::model::ServiceName;
use bytes::Bytes;
use std::collections::HashMap;
use std::io::Read;
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
}

/// The files as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Looker {
    pages: HashMap<PathBuf, (Option<SystemTime>, u64, Option<Bytes>)>,
}

impl Looker {
    /// Looks at the files of a service. May block, as files do.
    pub(super) fn look(&mut self, watched: &Watched) -> Files {
        let flag = watched.flag.as_deref().filter(|flag| flag.exists());
        let own = flag.filter(|flag| flag.extension().is_some_and(|extension| extension == "html"));
        let page = own.and_then(|file| self.page(file)).or_else(|| self.page(watched.page.as_deref()?));
        Files { flag: flag.is_some(), page }
    }

    /// The content of a page, unless it is empty or can't be read. It is read again when it has changed.
    fn page(&mut self, file: &Path) -> Option<Bytes> {
        let Ok(metadata) = file.metadata() else {
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
pub(super) async fn watch(
    mut all: Vec<Watched>,
    mut looker: Looker,
    mut known: HashMap<ServiceName, Files>,
    inbox: mpsc::Sender<Message>,
) {
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
        let watched = Watched { service: "shop".parse().unwrap(), flag: Some(flag.clone()), page: Some(page.clone()) };
        let mut looker = Looker::default();
        assert_eq!(looker.look(&watched), Files::default());
        std::fs::write(&page, "page").unwrap();
        assert_eq!(looker.look(&watched), Files { flag: false, page: Some("page".into()) });
        std::fs::write(&flag, "").unwrap();
        assert_eq!(looker.look(&watched), Files { flag: true, page: Some("page".into()) });
        std::fs::write(&flag, "own").unwrap();
        assert_eq!(looker.look(&watched), Files { flag: true, page: Some("own".into()) });
        std::fs::write(&flag, "other").unwrap();
        assert_eq!(looker.look(&watched).page, Some("other".into()));
        std::fs::remove_file(&flag).unwrap();
        assert_eq!(looker.look(&watched), Files { flag: false, page: Some("page".into()) });
    }
}
