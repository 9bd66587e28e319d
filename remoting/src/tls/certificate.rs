// SPDX-License-Identifier: Apache-2.0
//! Keys and certificates: those of files, or one that we make.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use pkcs8::{EncryptedPrivateKeyInfo, SecretDocument};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};

use super::TlsError;

/// Names that a certificate of ours is for.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A password; it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

/// Where key and certificate chain are, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The private key.
    pub key: Option<PathBuf>,
    /// The certificate chain.
    pub cert: Option<PathBuf>,
    /// What the key is encrypted with, if it is.
    pub password: Option<Password>,
}

impl Files {
    /// What is in the files; none when there are none.
    ///
    /// # Errors
    /// Only one of them was given, or one cannot be read.
    pub(crate) fn pair(&self) -> Result<Option<Pair>, TlsError> {
        let Some((key, cert)) = self.both()? else {
            return Ok(None);
        };
        Pair::load(key, cert, self.password.as_ref()).map(Some)
    }

    /// Both paths, or none.
    ///
    /// # Errors
    /// Only one of them was given.
    pub fn both(&self) -> Result<Option<(&Path, &Path)>, TlsError> {
        match (&self.key, &self.cert) {
            (Some(key), Some(cert)) => Ok(Some((key, cert))),
            (None, None) => Ok(None),
            _ => Err(TlsError::Half),
        }
    }

    /// When they were changed last.
    pub(crate) fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.key, &self.cert].map(|path| {
            let file = path.as_ref().and_then(|path| fs::metadata(path).ok());
            file.and_then(|file| file.modified().ok())
        })
    }
}

/// A private key and its certificate chain.
#[derive(Debug)]
pub struct Pair {
    /// The chain, own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

impl Pair {
    /// Reads both files. The key may be encrypted (PKCS #8).
    ///
    /// # Errors
    /// One cannot be read, is not PEM, or is encrypted otherwise than with the password.
    pub fn load(key: &Path, cert: &Path, password: Option<&Password>) -> Result<Self, TlsError> {
        Ok(Self {
            chain: certificates(cert)?,
            key: private_key(key, password)?,
        })
    }

    /// Makes a self-signed one that lives in memory only.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn make() -> Result<Self, TlsError> {
        let made = rcgen::generate_simple_self_signed(OWN_NAMES.map(str::to_owned))?;
        Ok(Self {
            chain: vec![made.cert.der().clone()],
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        })
    }

    /// Makes a self-signed one in two files; the key is for their owner alone.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn make_in(key: &Path, cert: &Path) -> Result<(), TlsError> {
        let made = rcgen::generate_simple_self_signed(OWN_NAMES.map(str::to_owned))?;
        let write = |path: &Path, text: &str, secret: bool| {
            write_file(path, text, secret).map_err(|source| TlsError::File {
                path: path.to_owned(),
                source,
            })
        };
        write(key, &made.signing_key.serialize_pem(), true)?;
        write(cert, &made.cert.pem(), false)
    }
}

fn pem(
    path: &Path,
    what: &'static str,
) -> impl Fn(rustls::pki_types::pem::Error) -> TlsError + use<> {
    let path = path.to_owned();
    move |source| TlsError::Pem {
        path: path.clone(),
        what,
        source,
    }
}

/// Label of an encrypted key.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

fn private_key(
    path: &Path,
    password: Option<&Password>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = fs::read_to_string(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })?;
    // The form of before PKCS #8 has the label of a plain key, and says so in a line of its own.
    let is_old = text.contains("Proc-Type: 4,ENCRYPTED");
    if !is_old && !text.contains(ENCRYPTED) {
        return PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(pem(path, "key"));
    }
    let unusable = |why: &str| TlsError::Encrypted {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    if is_old {
        return Err(unusable("it is not in the form of PKCS #8"));
    }
    let password = password.ok_or_else(|| unusable("no password is given"))?;
    let at = text.find("-----BEGIN ENCRYPTED").unwrap_or_default();
    let (label, encrypted) =
        SecretDocument::from_pem(&text[at..]).map_err(|error| unusable(&error.to_string()))?;
    if label != ENCRYPTED {
        return Err(unusable("it is no PEM"));
    }
    let key = EncryptedPrivateKeyInfo::try_from(encrypted.as_bytes())
        .map_err(|error| unusable(&error.to_string()))?
        .decrypt(&password.0)
        .map_err(|error| unusable(&format!("the password is wrong, or {error}")))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .map_err(pem(path, "certificate"))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem(path, "certificate"))
}

/// The certificates of a file, to trust in.
pub(crate) fn trusted(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Trust {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    if roots.is_empty() {
        return Err(TlsError::Trust {
            path: path.to_owned(),
            why: "there is none".to_owned(),
        });
    }
    Ok(roots)
}

fn write_file(path: &Path, text: &str, secret: bool) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(if secret { 0o600 } else { 0o644 })
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
