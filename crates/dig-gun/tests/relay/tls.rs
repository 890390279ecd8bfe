//! TLS.

use dig_gun::{
    client::RelayUrl,
    relay::{ServeError, ServeOptions, Serving, Tls, serve},
    store::{MemoryStorage, StoreConfig},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::sleep;

fn options() -> ServeOptions {
    let storage = Arc::new(MemoryStorage::new(StoreConfig::default()));
    ServeOptions::new(vec!["127.0.0.1:0".parse().unwrap()], storage)
}

/// Writes a certificate for this host and its key; the certificate in DER.
fn certify(folder: &Path) -> (Tls, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Tls {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&tls.cert, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    (tls, made.cert.der().to_vec())
}

async fn joined(serving: &Serving) -> bool {
    for _ in 0..300 {
        if serving.counters().relays == 1 {
            return true;
        }
        sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_tls_is_joined_by_who_trusts_it() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, root) = certify(folder.path());
    let mut secure = options();
    secure.tls = Some(tls);
    let secure = serve(secure).await.unwrap();
    let url: RelayUrl = format!("wss://localhost:{}/gun", secure.addrs()[0].port())
        .parse()
        .unwrap();
    let mut trusting = options();
    trusting.join = vec![url.clone()];
    trusting.join_roots = vec![root];
    let trusting = serve(trusting).await.unwrap();
    assert!(joined(&trusting).await);
    let mut wary = options();
    wary.join = vec![url];
    let wary = serve(wary).await.unwrap();
    assert!(
        !joined(&wary).await,
        "a certificate that nobody vouches for"
    );
    for serving in [wary, trusting, secure] {
        serving.shutdown().await;
    }
}

#[tokio::test]
async fn bad_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (good, _) = certify(folder.path());
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem");
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let (stranger, _) = certify(&other);
    for (cert, key, named) in [
        (&missing, &good.key, &missing),
        (&good.cert, &missing, &missing),
        (&empty, &good.key, &empty),
        (&good.cert, &empty, &empty),
        (&good.cert, &stranger.key, &good.cert),
    ] {
        let mut options = options();
        options.tls = Some(Tls {
            cert: cert.clone(),
            key: key.clone(),
        });
        match serve(options).await {
            Err(error @ ServeError::Certificate { .. }) => {
                assert!(
                    error.to_string().contains(named.to_str().unwrap()),
                    "{error}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
