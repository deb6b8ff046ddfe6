//! Certificates for the router, by an authority that the visitors of a test trust.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::path::PathBuf;
use tempfile::TempDir;

/// An authority and a folder for what it issues.
pub struct Issuer {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Issuer {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::with_prefix("cutover-certificates-").unwrap();
        std::fs::write(folder.path().join("authority.pem"), authority.pem()).unwrap();
        Self { authority, folder }
    }

    /// The file of the authority's own certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    pub fn chain(&self, file: &str) -> PathBuf {
        self.folder.path().join(format!("{file}.pem"))
    }

    pub fn key(&self, file: &str) -> PathBuf {
        self.folder.path().join(format!("{file}.key"))
    }

    /// Issues a certificate that is known by its number.
    pub fn issue(&self, file: &str, names: &[&str], number: u8) {
        self.issue_until(file, names, number, 2050);
    }

    /// The same, valid until the beginning of a year.
    pub fn issue_until(&self, file: &str, names: &[&str], number: u8, year: i32) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.serial_number = Some(vec![number].into());
        params.distinguished_name.push(DnType::CommonName, format!("number {number}"));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        // One after the other, each renamed into place, as those do who renew certificates.
        for (place, text) in [(self.chain(file), certificate.pem()), (self.key(file), key.serialize_pem())] {
            let draft = place.with_extension("draft");
            std::fs::write(&draft, text).unwrap();
            std::fs::rename(draft, place).unwrap();
        }
    }

    /// `server.tls` with these certificates, for one line in `[server]`.
    pub fn tls(&self, listen: &str, files: &[&str], keys: &str) -> String {
        let certificate = |file: &&str| {
            format!("{{ chain = \"{}\", key = \"{}\" }}", self.chain(file).display(), self.key(file).display())
        };
        let certificates: Vec<_> = files.iter().map(certificate).collect();
        format!("tls = {{ listen = [{listen}], certificates = [{}]{keys} }}", certificates.join(", "))
    }
}
