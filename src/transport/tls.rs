//! By what means the targets of a pool are spoken to: the protocol, and the verification of those with TLS.

use super::file;
use crate::config::{Config, Pool, PoolTls, Protocol};
use crate::model::{Endpoint, PoolName, ServiceName, TargetAddress};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt::Display;
use std::sync::{Arc, OnceLock};

/// What the targets of a pool are spoken to by. Two are equal that came from the same words and the same certificates.
#[derive(Debug, Clone, Default)]
pub struct Means {
    protocol: Protocol,
    tls: Option<Verified>,
}

#[derive(Debug, Clone)]
struct Verified {
    /// Shared by the pool's targets, with the sessions that they can resume.
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// The file of certificates as it was read; nothing where those of the system are used.
    authorities: Option<Arc<[u8]>>,
}

impl PartialEq for Means {
    fn eq(&self, other: &Self) -> bool {
        let of = |means: &Self| means.tls.as_ref().map(|tls| (tls.server_name.clone(), tls.authorities.clone()));
        self.protocol == other.protocol && of(self) == of(other)
    }
}

/// Why a pool's targets can't be spoken to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("service {service}: pool {pool}: {reason}")]
pub struct MeansFault {
    /// The service.
    pub service: ServiceName,
    /// The pool.
    pub pool: PoolName,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Means {
    /// Of a pool. Reads its file of certificates, if it has one.
    ///
    /// # Errors
    /// A sentence that says what is wrong with its `tls`, and what to do.
    pub fn of(pool: &Pool) -> Result<Self, String> {
        let protocol = pool.protocol;
        if !pool.targets.iter().any(|target| target.secure) {
            return Ok(Self { protocol, tls: None });
        }
        Ok(Self { protocol, tls: Some(Verified::of(&pool.tls, protocol)?) })
    }

    /// What stands against a configuration: all that can't be used of what its pools' `tls` names.
    #[must_use]
    pub fn faults_of(config: &Config) -> Vec<MeansFault> {
        let pools = config.services.iter().flat_map(|service| service.pools.iter().map(move |pool| (service, pool)));
        pools
            .filter_map(|(service, pool)| {
                let reason = Self::of(pool).err()?;
                Some(MeansFault { service: service.name.clone(), pool: pool.name.clone(), reason })
            })
            .collect()
    }

    /// What is spoken.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What a target with TLS is verified by: the settings, and the name that its certificate must be for.
    pub(super) fn verification(&self, target: &TargetAddress) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let tls = self.tls.as_ref().filter(|_| target.secure)?;
        let name = match (&tls.server_name, &target.endpoint) {
            (Some(name), _) => name.clone(),
            (None, Endpoint::Socket(address)) => ServerName::from(address.ip()),
            (None, Endpoint::Name(host, _)) => ServerName::try_from(host.to_string()).ok()?,
            (None, Endpoint::Unix(_)) => return None,
        };
        Some((Arc::clone(&tls.config), name))
    }
}

impl Verified {
    fn of(tls: &PoolTls, protocol: Protocol) -> Result<Self, String> {
        let (roots, authorities) = match &tls.ca_file {
            Some(file) => {
                let told = |fault: &dyn Display| format!("tls.ca_file {} {fault}", file.display());
                let text = file::read(file).map_err(|error| told(&format_args!("can't be read: {error}")))?;
                let roots = roots_in(&text).map_err(|error| told(&error))?;
                (Arc::new(roots), Some(text.into()))
            }
            None => (system_roots()?, None),
        };
        let server_name = match &tls.server_name {
            Some(name) => Some(
                ServerName::try_from(name.to_string())
                    .map_err(|_| format!("tls.server_name {name:?} is no name that a certificate can be for"))?,
            ),
            None => None,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS can't be set up: {error}"))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![match protocol {
            Protocol::H1 => b"http/1.1".to_vec(),
            Protocol::H2 => b"h2".to_vec(),
        }];
        Ok(Self { config: Arc::new(config), server_name, authorities })
    }
}

/// All certificates of a text are authorities; one that can't be read makes the others doubtful.
fn roots_in(text: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|error| format!("has a certificate that can't be read: {error}"))?;
        roots.add(certificate).map_err(|error| format!("has a certificate that can't be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("has no certificate in it; write those of the authorities in PEM, each from its \
                    `-----BEGIN CERTIFICATE-----` on"
            .to_owned());
    }
    Ok(roots)
}

/// The authorities that the system trusts, read once.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            // Systems have odd ones among theirs; whoever needs one of those is told that its issuer is unknown.
            roots.add_parsable_certificates(found.certs);
            if !roots.is_empty() {
                return Ok(Arc::new(roots));
            }
            let reasons: Vec<String> = found.errors.iter().map(|error| format!(" ({error})")).collect();
            Err(format!(
                "this system has no certificates to verify https:// targets by{}; install them (the package \
                 ca-certificates), or write tls.ca_file",
                reasons.concat()
            ))
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn pool(targets: &[&str], ca_file: Option<&Path>) -> Pool {
        Pool {
            name: "server0".parse().unwrap(),
            targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
            release: None,
            protocol: Protocol::H2,
            tls: PoolTls { ca_file: ca_file.map(Path::to_owned), server_name: None },
        }
    }

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new([]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_file_of_certificates_that_can_t_be_used_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let of = |targets: &[&str]| Means::of(&pool(targets, Some(&file))).map(|means| means.tls.is_some());
        assert_eq!(of(&["127.0.0.1:1"]), Ok(false), "nobody needs it");
        for (text, reason) in [
            (None, "can't be read: No such file"),
            (Some(String::new()), "has no certificate in it"),
            (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()), "can't be used"),
            (Some("-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n".to_owned()), "can't be read"),
            (Some(format!("{}-----BEGIN CERTIFICATE-----\n", authority())), "can't be read"),
            (Some("x".repeat(1024 * 1024 + 1)), "it is larger than 1024 KiB"),
        ] {
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let error = of(&["https://127.0.0.1:1"]).unwrap_err();
            assert!(error.contains(reason) && error.contains(&file.display().to_string()), "{error}");
        }
        let folder = Means::of(&pool(&["https://a"], Some(folder.path()))).unwrap_err();
        assert!(folder.contains("it is no file"), "{folder}");
    }

    #[test]
    fn means_are_the_same_until_their_certificates_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let of = || Means::of(&pool(&["https://a", "b:1"], Some(&file))).unwrap();
        std::fs::write(&file, authority()).unwrap();
        let (first, second) = (of(), of());
        assert_eq!(first, second);
        std::fs::write(&file, authority()).unwrap();
        assert_ne!(first, of());
        assert!(first.verification(&"b:1".parse().unwrap()).is_none());
        for (target, name) in [("https://a", "a"), ("https://10.0.0.1:1", "10.0.0.1"), ("https://[::1]", "::1")] {
            let (config, found) = first.verification(&target.parse().unwrap()).unwrap();
            assert_eq!((found, &config.alpn_protocols[..]), (name.try_into().unwrap(), &[b"h2".to_vec()][..]));
        }
    }
}
