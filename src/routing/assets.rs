//! What the operators' own pages need (images, styles, fonts), as the table carries it: in memory, found by name.

use super::table::{Route, Table};
use crate::model::RESERVED_PREFIX;
use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::sync::Arc;

/// Below [`RESERVED_PREFIX`], where the assets are.
const FOLDER: &str = "assets/";

/// A file that visitors can have whatever the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// All of it.
    pub content: Bytes,
    /// By the extension of its name.
    pub content_type: HeaderValue,
    /// Another one for another content.
    pub etag: HeaderValue,
}

/// The assets of a service, by their path in the folder, such as `css/site.css`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assets(pub HashMap<Box<str>, Asset>);

/// Whether a path is the router's own, on every host of every service.
#[must_use]
pub fn is_reserved(path: &str) -> bool {
    path.starts_with(RESERVED_PREFIX)
}

impl Table {
    /// The asset of a host and a raw path, with its service. A page asks for its assets at the same place wherever its
    /// service is mounted; of several services on a host, the one that comes first in [`HostIndex::all_of`] and has it
    /// gives it.
    ///
    /// [`HostIndex::all_of`]: super::HostIndex::all_of
    #[must_use]
    pub fn asset(&self, host: &str, path: &str) -> Option<(&Arc<Route>, &Asset)> {
        let name = path.strip_prefix(RESERVED_PREFIX)?.strip_prefix(FOLDER)?;
        let name = percent_decode_str(name).decode_utf8().ok()?;
        self.hosts.all_of(host).into_iter().find_map(|service| {
            let route = self.services.get(service)?;
            Some((route, route.assets.as_ref()?.0.get(&*name)?))
        })
    }
}
