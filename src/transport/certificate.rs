//! A certificate with its key, as two files have them.

use super::file;
use crate::config::CertificateFiles;
use crate::model::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long before its end a certificate is warned about: those of ninety days are renewed thirty days before.
const WARNED_DAYS: i64 = 14;

const DAY: i64 = 24 * 60 * 60;

/// A certificate that can be shown to visitors.
pub struct Certificate {
    files: CertificateFiles,
    pub(super) key: Arc<CertifiedKey>,
    /// The hosts that it is for, in small letters; a wildcard begins with `*.`.
    pub(super) names: Vec<String>,
    from: Timestamp,
    until: Timestamp,
    /// The earliest end of the whole chain.
    chain_until: Timestamp,
}

/// One of the two files of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePart {
    /// The certificate and those between it and its root.
    Chain,
    /// Its key.
    Key,
}

/// Why a certificate can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .file.display())]
pub struct CertificateFault {
    /// Which of the two files is at fault.
    pub part: CertificatePart,
    /// The file.
    pub file: PathBuf,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the file is not there at all.
    pub is_missing: bool,
}

/// Never shows the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).field("names", &self.names).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads it from its files, whether it is valid at this time or not.
    ///
    /// # Errors
    /// When a file can't be read or understood, or the key is another certificate's.
    pub fn read(files: &CertificateFiles) -> Result<Self, CertificateFault> {
        let of_chain = |message: String| CertificateFault::new(CertificatePart::Chain, files, message);
        let of_key = |message: String| CertificateFault::new(CertificatePart::Key, files, message);
        let told = |part| move |error: io::Error| CertificateFault::unread(part, files, &error);
        let chain = file::read(&files.chain).map_err(told(CertificatePart::Chain))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().map_err(|_| {
            of_chain("this is not PEM; write the certificate as -----BEGIN CERTIFICATE-----".to_owned())
        })?;
        let facts = Facts::of(&chain).map_err(of_chain)?;
        let key = file::read(&files.key).map_err(told(CertificatePart::Key))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| of_key(no_key(&error)))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
            of_key(match error {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    format!("this is not the key of the first certificate in {}", files.chain.display())
                }
                _ => "this key can't be used; RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) and Ed25519 can"
                    .to_owned(),
            })
        })?;
        let Facts { names, from, until, chain_until } = facts;
        Ok(Self { files: files.clone(), key: Arc::new(key), names, from, until, chain_until })
    }

    /// The file of the certificate, by which it is named.
    #[must_use]
    pub fn name(&self) -> String {
        self.files.chain.display().to_string()
    }

    /// When the first of its chain ends.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.chain_until
    }

    /// Whether it is the same certificate as another.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }

    /// Why visitors would not accept it at this time.
    #[must_use]
    pub fn fault_at(&self, now: Timestamp) -> Option<CertificateFault> {
        let message = if now < self.from {
            format!("this certificate is not valid before {}", self.from)
        } else if now > self.until {
            format!("this certificate has expired, on {}; put a new one in its place", self.until)
        } else {
            return None;
        };
        Some(CertificateFault::new(CertificatePart::Chain, &self.files, message))
    }

    /// What an operator should know of it at this time, as a sentence.
    #[must_use]
    pub fn warning_at(&self, now: Timestamp) -> Option<String> {
        if let Some(fault) = self.fault_at(now) {
            return Some(format!("visitors do not accept what they are shown: {fault}"));
        }
        let left = self.chain_until.as_second() - now.as_second();
        let which = if self.chain_until == self.until { "this certificate" } else { "a certificate of this chain" };
        if left < 0 {
            return Some(format!("{}: {which} has expired, on {}", self.name(), self.chain_until));
        }
        let days = left / DAY;
        (days < WARNED_DAYS)
            .then(|| format!("{}: {which} expires in {days} days, on {}; renew it", self.name(), self.chain_until))
    }
}

impl CertificateFault {
    fn new(part: CertificatePart, files: &CertificateFiles, message: String) -> Self {
        let file = match part {
            CertificatePart::Chain => &files.chain,
            CertificatePart::Key => &files.key,
        };
        Self { part, file: file.clone(), message, is_missing: false }
    }

    fn unread(part: CertificatePart, files: &CertificateFiles, error: &io::Error) -> Self {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        Self { is_missing, ..Self::new(part, files, format!("this file can't be read: {error}")) }
    }
}

/// Says nothing of what is in the file.
fn no_key(error: &PemError) -> String {
    match error {
        PemError::NoItemsFound => {
            "there is no key in PEM here; write it without a password, as PKCS#8, PKCS#1 or SEC1".to_owned()
        }
        _ => "this is not PEM; write the key as -----BEGIN PRIVATE KEY-----".to_owned(),
    }
}

/// What a chain says of itself.
struct Facts {
    names: Vec<String>,
    from: Timestamp,
    until: Timestamp,
    chain_until: Timestamp,
}

impl Facts {
    fn of(chain: &[CertificateDer<'_>]) -> Result<Self, String> {
        let mut facts: Option<Self> = None;
        for der in chain {
            let (_, certificate) = X509Certificate::from_der(der)
                .map_err(|_| "a certificate of this chain can't be understood".to_owned())?;
            let moment = |seconds| Timestamp::from_second(seconds).map_err(|_| "its dates can't be read".to_owned());
            let until = moment(certificate.validity().not_after.timestamp())?;
            if let Some(facts) = &mut facts {
                facts.chain_until = facts.chain_until.min(until);
            } else {
                let from = moment(certificate.validity().not_before.timestamp())?;
                facts = Some(Self { names: names(&certificate), from, until, chain_until: until });
            }
        }
        facts.ok_or_else(|| "there is no certificate in PEM here".to_owned())
    }
}

/// The names of hosts among those that a certificate is for.
fn names(certificate: &X509Certificate) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd};
    use std::path::Path;
    use std::process::Command;
    use tempfile::TempDir;

    /// Files of a certificate for these names, valid in these years.
    pub(in crate::transport) fn written(
        folder: &Path,
        file: &str,
        names: &[&str],
        years: (i32, i32),
    ) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        written_with(folder, file, names, years, &key)
    }

    fn written_with(folder: &Path, file: &str, names: &[&str], years: (i32, i32), key: &KeyPair) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let certificate = params.self_signed(key).unwrap();
        let files =
            CertificateFiles { chain: folder.join(format!("{file}.pem")), key: folder.join(format!("{file}.key")) };
        std::fs::write(&files.chain, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_certificate_knows_its_names_and_its_time() {
        let folder = TempDir::new().unwrap();
        let files = written(folder.path(), "a", &["Shop.example.com", "*.example.org", "192.0.2.1"], (2020, 2030));
        let certificate = Certificate::read(&files).unwrap();
        assert_eq!(certificate.names, ["shop.example.com", "*.example.org"]);
        assert_eq!(certificate.ends(), at("2030-01-01T00:00:00Z"));
        assert_eq!(certificate.fault_at(at("2025-01-01T00:00:00Z")), None);
        assert!(certificate.is(&Certificate::read(&files).unwrap()));
        let early = certificate.fault_at(at("2019-12-31T00:00:00Z")).unwrap().to_string();
        assert!(early.contains("not valid before 2020-01-01T00:00:00Z"), "{early}");
        let late = certificate.fault_at(at("2030-01-02T00:00:00Z")).unwrap().to_string();
        assert!(late.contains("a.pem: this certificate has expired, on 2030-01-01T00:00:00Z"), "{late}");
    }

    #[test]
    fn the_end_is_warned_about_two_weeks_before() {
        let folder = TempDir::new().unwrap();
        let certificate = Certificate::read(&written(folder.path(), "a", &["a.example"], (2020, 2030))).unwrap();
        assert_eq!(certificate.warning_at(at("2029-12-17T23:59:59Z")), None);
        let soon = certificate.warning_at(at("2029-12-18T00:00:01Z")).unwrap();
        assert!(soon.contains("a.pem: this certificate expires in 13 days, on 2030-01-01"), "{soon}");
        let late = certificate.warning_at(at("2030-01-02T00:00:00Z")).unwrap();
        assert!(late.contains("visitors do not accept") && late.contains("has expired"), "{late}");
    }

    #[test]
    fn keys_of_every_common_kind_and_form_are_read() {
        let folder = TempDir::new().unwrap();
        for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            Certificate::read(&written_with(folder.path(), "a", &["a.example"], (2020, 2030), &key)).unwrap();
        }
        for (name, command) in [
            ("pkcs1", "openssl genrsa -traditional 2048"),
            ("pkcs8", "openssl genrsa 2048"),
            ("sec1", "openssl ecparam -name prime256v1 -genkey -noout"),
        ] {
            let files = CertificateFiles {
                chain: folder.path().join(format!("{name}.pem")),
                key: folder.path().join(format!("{name}.key")),
            };
            let (chain, key) = (files.chain.display(), files.key.display());
            let script =
                format!("{command} > {key} && openssl req -x509 -key {key} -out {chain} -days 30 -subj /CN=a.example");
            let done = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert!(done.status.success(), "{done:?}");
            let certificate = Certificate::read(&files).unwrap();
            assert!(certificate.names.is_empty(), "a name outside of the list of names counts for nobody");
        }
    }

    #[test]
    fn what_can_t_be_used_is_told_with_its_file() {
        let folder = TempDir::new().unwrap();
        let good = written(folder.path(), "good", &["a.example"], (2020, 2030));
        let other = written(folder.path(), "other", &["a.example"], (2020, 2030));
        let text = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let gone = folder.path().join("gone.pem");
        let garbled = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGtleQ==\n-----END PRIVATE KEY-----\n";
        let large = "x".repeat(1024 * 1024 + 1);
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (chain, key, part, sentence) in [
            (&gone, &good.key, CertificatePart::Chain, "gone.pem: this file can't be read: No such file"),
            (&good.chain, &gone, CertificatePart::Key, "gone.pem: this file can't be read"),
            (&text("empty", ""), &good.key, CertificatePart::Chain, "no certificate in PEM here"),
            (&good.chain, &text("empty", ""), CertificatePart::Key, "there is no key in PEM here"),
            (&good.key, &good.key, CertificatePart::Chain, "no certificate in PEM here"),
            (&good.chain, &good.chain, CertificatePart::Key, "there is no key in PEM here"),
            (&good.chain, &other.key, CertificatePart::Key, "not the key of the first certificate in"),
            (&good.chain, &text("garbled", garbled), CertificatePart::Key, "this key can't be used"),
            (&good.chain, &text("half", &garbled[..60]), CertificatePart::Key, "this is not PEM"),
            (&pipe, &good.key, CertificatePart::Chain, "it is no file"),
            (&good.chain, &pipe, CertificatePart::Key, "it is no file"),
            (&text("large", &large), &good.key, CertificatePart::Chain, "larger than 1024 KiB"),
        ] {
            let files = CertificateFiles { chain: chain.clone(), key: key.clone() };
            let fault = Certificate::read(&files).unwrap_err();
            assert_eq!(fault.part, part, "{fault}");
            assert!(fault.to_string().contains(sentence), "{fault}");
            assert!(!fault.to_string().contains("c2VjcmV0"), "{fault}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let folder = TempDir::new().unwrap();
        let files = written(folder.path(), "a", &["a.example"], (2020, 2030));
        let certificate = Certificate::read(&files).unwrap();
        let (shown, key) = (format!("{certificate:?}"), format!("{:?}", certificate.key.key));
        assert!(shown.contains("a.example") && !shown.contains(&key), "{shown}");
    }
}
