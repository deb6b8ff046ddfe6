//! Where the admin API listens.

use crate::config::AdminListen;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A socket that listens; connections wait in its queue until it is served.
#[derive(Debug)]
pub struct AdminListener {
    pub(super) socket: ListeningSocket,
}

#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl AdminListener {
    /// The address, with the port that the system chose where port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> AdminListen {
        match &self.socket {
            ListeningSocket::Tcp(_, address) => AdminListen::Tcp(*address),
            ListeningSocket::Unix(_, path) => AdminListen::Unix(path.clone()),
        }
    }
}

/// As `--admin` takes it.
impl fmt::Display for AdminListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            ListeningSocket::Tcp(_, address) => write!(f, "http://{address}"),
            ListeningSocket::Unix(_, path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Begins to listen. A Unix socket is for this user only; one that a dead process left behind is replaced.
///
/// # Errors
/// When the address is taken or can't be used; the error names it.
pub fn bind(listen: &AdminListen) -> io::Result<AdminListener> {
    let (bound, name) = match listen {
        AdminListen::Tcp(address) => (bind_tcp(*address), address.to_string()),
        AdminListen::Unix(path) => (bind_unix(path), path.display().to_string()),
    };
    let socket = bound.map_err(|error| io::Error::new(error.kind(), format!("[admin] listen: {name}: {error}")))?;
    Ok(AdminListener { socket })
}

/// Connections that may wait while all that may be open are.
const BACKLOG: i32 = 128;

fn bind_tcp(address: SocketAddr) -> io::Result<ListeningSocket> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(ListeningSocket::Tcp(listener, address))
}

fn bind_unix(path: &Path) -> io::Result<ListeningSocket> {
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, so that nobody connects in between.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(ListeningSocket::Unix(socket.into(), path.to_owned()))
}

/// Removes the socket that a dead process left behind.
fn clear(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is not a socket; remove it",
            ));
        }
        Ok(_) => {}
    }
    let knock = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue must not make us wait; it too means that somebody is there.
    knock.set_nonblocking(true)?;
    match knock.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listen = AdminListen::Unix(path.clone());
        let first = bind(&listen).unwrap();
        assert_eq!(first.to_string(), format!("unix:{}", path.display()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let refused = bind(&listen).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        assert!(refused.to_string().contains("admin.sock: another program listens there"), "{refused}");
        drop(first);
        assert!(path.exists());
        bind(&listen).unwrap();
    }

    #[test]
    fn a_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "keep").unwrap();
        assert!(bind(&AdminListen::Unix(path.clone())).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "keep");
    }

    #[test]
    fn port_0_is_told_as_the_port_that_it_became() {
        let listener = bind(&AdminListen::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let AdminListen::Tcp(address) = listener.address() else { panic!("not TCP") };
        assert!(address.port() != 0);
        assert_eq!(listener.to_string(), format!("http://{address}"));
        let refused = bind(&AdminListen::Tcp(address)).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("[admin] listen: {address}: ")), "{refused}");
    }
}
