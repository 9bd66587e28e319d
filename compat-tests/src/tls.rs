// SPDX-License-Identifier: Apache-2.0

//! A certificate for the proxy under test, signed by an authority of this build folder: SDKs that check certificates
//! are told to trust it, as an operator would.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::{
    error::{Result, Trying},
    folders::build_dir,
};

/// The certificate of the proxy with that of its authority behind it, and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// The authority's certificate, as a file of the form PEM.
pub(crate) fn authority() -> Result<PathBuf> {
    certificate()?;
    Ok(build_dir("tls")?.join("authority.pem"))
}

/// The proxy's certificate, for 127.0.0.1 and localhost; made once.
pub(crate) fn certificate() -> Result<Certificate> {
    let folder = build_dir("tls")?;
    let lock = File::create(folder.join("lock")).trying(|| format!("lock {}", folder.display()))?;
    lock.lock()
        .trying(|| format!("lock {}", folder.display()))?;
    let made = Certificate {
        chain: folder.join("chain.pem"),
        key: folder.join("key.pem"),
    };
    // The chain is written last: with it, all is there.
    if made.chain.exists() {
        return Ok(made);
    }
    let (authority, chain, key) = sign()
        .map_err(std::io::Error::other)
        .trying(|| "make a certificate".into())?;
    for (path, text) in [
        (folder.join("authority.pem"), authority),
        (made.key.clone(), key),
        (made.chain.clone(), chain),
    ] {
        fs::write(&path, text).trying(|| format!("write {}", path.display()))?;
    }
    Ok(made)
}

fn sign() -> std::result::Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "aerobee compat tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let authority_key = KeyPair::generate()?;
    let authority = params.self_signed(&authority_key)?;
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    server.use_authority_key_identifier_extension = true;
    let signed = server.signed_by(&key, &issuer)?;
    let chain = signed.pem() + &authority.pem();
    Ok((authority.pem(), chain, key.serialize_pem()))
}
