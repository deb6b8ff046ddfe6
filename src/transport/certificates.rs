//! The certificates that visitors are shown: read at the start, and again when their files have changed.

use super::resolver::{Resolver, Set};
use super::{Certificate, CertificateFault};
use crate::config::{Tls, TlsVersion};
use crate::model::Timestamp;
use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;

/// The versions of HTTP that are spoken by TLS, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// All certificates of the router.
#[derive(Debug)]
pub struct Certificates {
    tls: Tls,
    resolver: Arc<Resolver>,
    /// New ones that can't be used, while the old ones are shown.
    refused: ArcSwap<Vec<CertificateFault>>,
}

/// Until when a certificate can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The file of the certificate.
    pub certificate: String,
    /// When the first of its chain ends.
    pub ends: Timestamp,
}

/// What became of a new look at the files.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// The files of the certificates that are shown from now on.
    pub changed: Vec<String>,
    /// Those that are refused; the old ones are shown instead.
    pub refused: Vec<CertificateFault>,
}

impl Certificates {
    /// Reads all of them. One that has expired is shown still: some visitors may have no choice.
    ///
    /// # Errors
    /// With every one that can't be used.
    pub fn read(tls: &Tls) -> Result<Self, Vec<CertificateFault>> {
        let (mut all, mut faults) = (Vec::new(), Vec::new());
        for files in &tls.certificates {
            match Certificate::read(files) {
                Ok(certificate) => all.push(Arc::new(certificate)),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let resolver = Arc::new(Resolver::new(Set::new(all)));
        Ok(Self { tls: tls.clone(), resolver, refused: ArcSwap::default() })
    }

    /// Reads all of them again and puts what can be used in force, at once. Where a new one can't be used, the old one
    /// stays. Connections are left as they are.
    pub fn reload(&self, now: Timestamp) -> Reloaded {
        let mut reloaded = Reloaded::default();
        let old = self.resolver.set();
        let mut all = Vec::with_capacity(old.all().len());
        for (files, old) in self.tls.certificates.iter().zip(old.all()) {
            let usable = |new: Certificate| match new.fault_at(now) {
                // It is shown already.
                Some(fault) if !new.is(old) => Err(fault),
                Some(_) | None => Ok(new),
            };
            match Certificate::read(files).and_then(usable) {
                Ok(new) => {
                    if !new.is(old) {
                        reloaded.changed.push(new.name());
                    }
                    all.push(Arc::new(new));
                }
                Err(fault) => {
                    reloaded.refused.push(fault);
                    all.push(Arc::clone(old));
                }
            }
        }
        self.resolver.swap(Set::new(all));
        self.refused.store(Arc::new(reloaded.refused.clone()));
        reloaded
    }

    /// What TLS with visitors goes by.
    ///
    /// # Errors
    /// When the keys of tickets can't be made.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        const ANY: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        let versions = match self.tls.min_version {
            TlsVersion::V1_2 => ANY,
            TlsVersion::V1_3 => &ANY[..1],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::clone(&self.resolver) as _);
        config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        // Sessions are resumed by tickets, which every worker can read: nothing is kept, and nothing is shared but the
        // keys, which change every six hours.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// What an operator should know at this time: one sentence each.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let refused = self.refused.load();
        let refused = refused.iter().map(|fault| format!("a new certificate is refused, the old one stays: {fault}"));
        let set = self.resolver.set();
        refused.chain(set.all().iter().filter_map(|certificate| certificate.warning_at(now))).collect()
    }

    /// Whether a new one was refused at the last look.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        !self.refused.load().is_empty()
    }

    /// Until when each can be shown.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        let of = |certificate: &Arc<Certificate>| Expiry { certificate: certificate.name(), ends: certificate.ends() };
        self.resolver.set().all().iter().map(of).collect()
    }

    /// The files that they are read from.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        self.tls.certificates.iter().flat_map(|files| [files.chain.as_path(), files.key.as_path()])
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::written;
    use super::*;
    use crate::config::CertificateFiles;
    use std::path::Path;
    use tempfile::TempDir;

    fn tls(certificates: &[CertificateFiles]) -> Tls {
        Tls { listen: Vec::new(), certificates: certificates.to_vec(), min_version: TlsVersion::V1_2, redirect: None }
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn two(folder: &Path) -> [CertificateFiles; 2] {
        ["a", "b"].map(|name| written(folder, name, &[name], (2020, 2030)))
    }

    #[test]
    fn a_new_certificate_is_taken_and_a_broken_one_leaves_the_old() {
        let folder = TempDir::new().unwrap();
        let files = two(folder.path());
        let certificates = Certificates::read(&tls(&files)).unwrap();
        let nothing = certificates.reload(now());
        assert!(nothing.changed.is_empty() && nothing.refused.is_empty(), "{nothing:?}");

        let old = certificates.resolver.set();
        written(folder.path(), "a", &["a"], (2020, 2040));
        std::fs::write(&files[1].chain, "nonsense").unwrap();
        let reloaded = certificates.reload(now());
        assert_eq!(reloaded.changed, [files[0].chain.display().to_string()]);
        assert_eq!(reloaded.refused.len(), 1, "{reloaded:?}");
        let set = certificates.resolver.set();
        assert!(!set.all()[0].is(&old.all()[0]) && set.all()[1].is(&old.all()[1]));
        let warnings = certificates.warnings(now());
        assert!(warnings.len() == 1 && warnings[0].contains("the old one stays: "), "{warnings:?}");

        written(folder.path(), "b", &["b"], (2020, 2040));
        assert!(certificates.reload(now()).refused.is_empty());
        assert_eq!(certificates.warnings(now()), [""; 0]);
    }

    #[test]
    fn a_new_one_that_is_not_valid_now_is_refused_but_the_old_one_stays_whatever_its_time() {
        let folder = TempDir::new().unwrap();
        let files = written(folder.path(), "a", &["a"], (2020, 2025));
        let certificates = Certificates::read(&tls(&[files])).unwrap();
        assert!(certificates.warnings(now())[0].contains("has expired"));
        assert!(certificates.reload(now()).refused.is_empty(), "it is the same as before");
        for years in [(2020, 2024), (2027, 2030)] {
            written(folder.path(), "a", &["a"], years);
            assert_eq!(certificates.reload(now()).refused.len(), 1);
            assert_eq!(certificates.expiries()[0].ends.to_string(), "2025-01-01T00:00:00Z");
        }
        written(folder.path(), "a", &["a"], (2025, 2027));
        assert_eq!(certificates.reload(now()).changed.len(), 1);
    }

    #[test]
    fn every_one_that_can_t_be_used_is_told_at_the_start() {
        let folder = TempDir::new().unwrap();
        let files = two(folder.path());
        for files in &files {
            std::fs::remove_file(&files.key).unwrap();
        }
        assert_eq!(Certificates::read(&tls(&files)).unwrap_err().len(), 2);
    }

    #[test]
    fn keys_are_not_shown() {
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::read(&tls(&two(folder.path()))).unwrap();
        let shown = format!("{certificates:?} {:?}", certificates.server_config().unwrap());
        assert!(!shown.contains("CertifiedKey") && !shown.contains("PRIVATE"), "{shown}");
    }
}
