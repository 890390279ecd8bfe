//! Keeps this node's certificate fresh.

use super::OwnCertificateError;
use dig_identity::{Signer, certificate};
use dig_types::Timestamp;
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The current certificate, made again when a seventh of its life is left.
#[derive(Debug)]
pub(crate) struct CertificateKeeper {
    signer: Arc<dyn Signer>,
    lifetime: Duration,
    current: Mutex<Option<Current>>,
}

#[derive(Debug, Clone)]
struct Current {
    key: Arc<CertifiedKey>,
    issued: Timestamp,
}

impl Current {
    fn is_within(&self, now: Timestamp, life: Duration) -> bool {
        now >= self.issued && now < self.issued + life
    }
}

impl CertificateKeeper {
    pub(crate) fn new(signer: Arc<dyn Signer>, lifetime: Duration) -> Self {
        Self {
            signer,
            lifetime,
            current: Mutex::new(None),
        }
    }

    /// The certificate to show now. If renewal fails, the old one serves to its end.
    pub(crate) fn current(
        &self,
        provider: &CryptoProvider,
        now: Timestamp,
    ) -> Result<Arc<CertifiedKey>, OwnCertificateError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.lifetime - self.lifetime / 7;
        if let Some(old) = current.as_ref().filter(|old| old.is_within(now, fresh)) {
            return Ok(Arc::clone(&old.key));
        }
        match self.issue(provider, now) {
            Ok(key) => {
                *current = Some(Current {
                    key: Arc::clone(&key),
                    issued: now,
                });
                Ok(key)
            }
            Err(error) => match current
                .as_ref()
                .filter(|old| old.is_within(now, self.lifetime))
            {
                Some(old) => {
                    tracing::warn!(%error, "the certificate was not renewed; the old one serves on");
                    Ok(Arc::clone(&old.key))
                }
                None => Err(error),
            },
        }
    }

    fn issue(
        &self,
        provider: &CryptoProvider,
        now: Timestamp,
    ) -> Result<Arc<CertifiedKey>, OwnCertificateError> {
        let issued = certificate::issue(&*self.signer, now, self.lifetime)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.private_key.as_slice()));
        let chain = vec![CertificateDer::from(issued.der.clone())];
        CertifiedKey::from_der(chain, private.clone_key(), provider)
            .map(Arc::new)
            .map_err(|error| OwnCertificateError::Library(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Tls;
    use dig_identity::{Algorithm, CryptoIdentity};
    use dig_types::SystemClock;

    #[test]
    fn renewed_before_it_expires_and_after_the_clock_went_back() {
        let signer = Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap());
        let tls = Tls::new(Arc::new(SystemClock));
        let day = Duration::from_secs(86_400);
        let keeper = CertificateKeeper::new(signer, 7 * day);
        let start = Timestamp::from_millis(1_700_000_000_000);
        let at = |now| keeper.current(tls.provider(), now).unwrap();
        let first = at(start);
        assert!(Arc::ptr_eq(&first, &at(start + 5 * day)));
        let second = at(start + 6 * day);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&second, &at(start)), "issued in the future");
    }
}
