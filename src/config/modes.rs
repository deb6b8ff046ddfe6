//! What a service does instead of serving: `[service.maintenance]`, `[service.read_only]`, `[service.anonymous]` and
//! `[service.hold]`.

use super::keys;
use super::model::{Anonymous, Hold, Maintenance, ReadOnly, UnsafeRequests, UnsafeStatus};
use super::reader::Node;
use crate::model::{COOKIE_NAME, PREVIEW_COOKIE_NAME, PathPrefix, Period};

/// More would be no bound.
const MOST_HELD: u64 = 1_000_000;
/// The same of bytes: 4 GiB.
const MOST_HELD_BYTES: u64 = 4 << 30;
/// A visitor who waits longer has gone.
const LONGEST_WAIT: Period = Period::from_secs(600);

pub(super) fn maintenance(node: &Node) -> Option<Maintenance> {
    let table = node.table(keys::MAINTENANCE)?;
    let default = Maintenance::default();
    Some(Maintenance {
        page: table.read("page", page),
        file: table.read("file", flag_file),
        retry_after: table
            .read("retry_after", |node| node.period_of_at_least(Period::from_secs(1)))
            .unwrap_or(default.retry_after),
        unsafe_status: table.read("unsafe_status", unsafe_status).unwrap_or(default.unsafe_status),
        bypass: table.read("bypass", Node::networks).unwrap_or_default(),
        exempt: table.read("exempt", maintenance_exempt).unwrap_or_default(),
        assets: table.read("assets", assets),
    })
}

fn page(node: &Node) -> Option<std::path::PathBuf> {
    let page = node.path()?;
    if !page.is_file() {
        node.warn(format!("{} is not there; the built-in page is shown until it is", page.display()));
    }
    Some(page)
}

fn flag_file(node: &Node) -> Option<std::path::PathBuf> {
    let file = node.path()?;
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        node.warn(format!("the folder {} is not there, so nothing can switch maintenance on", folder.display()));
    }
    Some(file)
}

fn unsafe_status(node: &Node) -> Option<UnsafeStatus> {
    match node.integer(0..=999)? {
        503 => Some(UnsafeStatus::ServiceUnavailable),
        405 => Some(UnsafeStatus::MethodNotAllowed),
        other => {
            node.fault(format!("{other} is none of the choices; write 503 or 405"));
            None
        }
    }
}

fn assets(node: &Node) -> Option<std::path::PathBuf> {
    let folder = node.path()?;
    if !folder.is_dir() {
        node.warn(format!("the folder {} is not there; the page goes without what is to be in it", folder.display()));
    }
    Some(folder)
}

fn prefixes(node: &Node) -> Option<Vec<PathPrefix>> {
    let items = node.list("a list of path prefixes such as \"/login\"")?;
    Some(items.iter().filter_map(Node::parsed).collect())
}

fn maintenance_exempt(node: &Node) -> Option<Vec<PathPrefix>> {
    let prefixes = prefixes(node)?;
    if prefixes.contains(&PathPrefix::default()) {
        node.warn(
            "\"/\" is every path, so that modes maintenance and hold would keep nothing out; write longer prefixes",
        );
    }
    Some(prefixes)
}

fn read_only_exempt(node: &Node) -> Option<Vec<PathPrefix>> {
    let prefixes = prefixes(node)?;
    if prefixes.contains(&PathPrefix::default()) {
        node.warn("\"/\" is every path, so that nothing would be refused in mode read-only; write longer prefixes");
    }
    Some(prefixes)
}

pub(super) fn read_only(node: &Node) -> Option<ReadOnly> {
    let table = node.table(keys::READ_ONLY)?;
    let choices = [
        ("503", UnsafeRequests::ServiceUnavailable),
        ("405", UnsafeRequests::MethodNotAllowed),
        ("as-get", UnsafeRequests::AsGet),
    ];
    Some(ReadOnly {
        unsafe_requests: table.read("unsafe", |node| node.choice(&choices, &[])).unwrap_or_default(),
        exempt: table.read("exempt", read_only_exempt).unwrap_or_default(),
    })
}

pub(super) fn anonymous(node: &Node) -> Option<Anonymous> {
    let table = node.table(keys::ANONYMOUS)?;
    Some(Anonymous { cookies: table.read("cookies", cookies) })
}

fn cookies(node: &Node) -> Option<Vec<String>> {
    let items = node.list("a list of cookie names such as \"sessionid\"")?;
    if items.is_empty() {
        node.warn("mode anonymous takes only Authorization away; name the cookies by which visitors are logged in, if any are");
    }
    Some(items.iter().filter_map(cookie).collect())
}

fn cookie(node: &Node) -> Option<String> {
    let name = node.text()?;
    // RFC 6265 §4.1.1: the name is a token, as that of a header.
    let is_token = name.parse::<http::HeaderName>().is_ok();
    if !is_token {
        node.fault(format!("{name:?} is not the name of a cookie; write one, such as \"sessionid\""));
    } else if [COOKIE_NAME, PREVIEW_COOKIE_NAME].contains(&name) {
        node.fault(format!("{name:?} is the router's own cookie, which says nothing of who is logged in; take it out"));
    }
    is_token.then(|| name.to_owned())
}

pub(super) fn hold(node: &Node) -> Option<Hold> {
    let table = node.table(keys::HOLD)?;
    let default = Hold::default();
    let wait = |node: &Node| {
        let wait = node.positive_period()?;
        if wait > LONGEST_WAIT {
            node.fault(format!("no visitor waits {wait}; write at most {LONGEST_WAIT}"));
        }
        Some(wait)
    };
    let restart = |node: &Node| {
        let wait = node.period()?;
        if wait > LONGEST_WAIT {
            node.fault(format!("no visitor waits {wait}; write at most {LONGEST_WAIT}"));
        }
        Some(wait)
    };
    Some(Hold {
        max_wait: table.read("max_wait", wait).unwrap_or(default.max_wait),
        max_requests: table.read("max_requests", |node| node.integer(1..=MOST_HELD)).unwrap_or(default.max_requests),
        max_bytes: table.read("max_bytes", |node| node.integer(1..=MOST_HELD_BYTES)).unwrap_or(default.max_bytes),
        restart: table.read("restart", restart).unwrap_or(default.restart),
    })
}
