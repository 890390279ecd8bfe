//! A node of the tests: answers questions over plain TCP, and asks others so.

use dig_discovery::{Answer, Claim, LocalConfig, LocalDiscovery, Lookup, NodeQuery, QueryError};
use dig_types::{ContentHash, ContentKind, DiscoveryKey, InstanceId, NodeId};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::HashMap,
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const NOT_FOUND: u8 = 1;
const PENDING: u8 = 2;
const FOUND: u8 = 3;

pub(crate) type Asked = Arc<Mutex<Vec<SocketAddr>>>;

/// What a node says to a key: the content that it has, once `pending` questions were put off.
#[derive(Debug)]
pub(crate) struct Shelf {
    node: NodeId,
    has: HashMap<DiscoveryKey, ContentHash>,
    pending: AtomicUsize,
}

impl Shelf {
    pub(crate) fn new(number: u8, has: &[(&Lookup, ContentHash)], pending: usize) -> Self {
        Self {
            node: NodeId::from_bytes([number; 32]),
            has: has
                .iter()
                .map(|(lookup, hash)| (lookup.key(), *hash))
                .collect(),
            pending: pending.into(),
        }
    }

    /// Answers questions for as long as the runtime lives; gives the port and how many came.
    pub(crate) async fn serve(self) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let questions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&questions);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // A caller that hangs up is no matter.
                let _ = self.answer(stream).await;
            }
        });
        (port, questions)
    }

    async fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut key = [0; 32];
        stream.read_exact(&mut key).await?;
        let Some(hash) = self.has.get(&DiscoveryKey::from_bytes(key)) else {
            return stream.write_all(&[NOT_FOUND]).await;
        };
        let put_off = |left: usize| left.checked_sub(1);
        if self
            .pending
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, put_off)
            .is_ok()
        {
            return stream.write_all(&[PENDING]).await;
        }
        stream.write_all(&[FOUND]).await?;
        stream.write_all(self.node.as_bytes()).await?;
        stream.write_all(hash.as_bytes()).await
    }
}

/// Asks over plain TCP and notes whom it asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainQuery {
    pub(crate) asked: Asked,
}

impl NodeQuery for PlainQuery {
    fn resolve(
        &self,
        addrs: Vec<SocketAddr>,
        lookup: Lookup,
    ) -> BoxFuture<'static, Result<Answer, QueryError>> {
        self.asked.lock().unwrap().extend(&addrs);
        async move {
            for addr in addrs {
                let attempt = tokio::time::timeout(Duration::from_millis(500), ask(addr, &lookup));
                if let Ok(Ok(answer)) = attempt.await {
                    return Ok(answer);
                }
            }
            Err(QueryError::Unreachable)
        }
        .boxed()
    }
}

async fn ask(addr: SocketAddr, lookup: &Lookup) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(lookup.key().as_bytes()).await?;
    let (mut node, mut hash) = ([0; 32], [0; 32]);
    Ok(match stream.read_u8().await? {
        NOT_FOUND => Answer::NotFound,
        PENDING => Answer::Pending {
            eta: Duration::from_millis(100),
        },
        _ => {
            stream.read_exact(&mut node).await?;
            stream.read_exact(&mut hash).await?;
            Answer::Found {
                node: NodeId::from_bytes(node),
                claims: vec![Claim {
                    hash: Some(ContentHash::from_bytes(hash)),
                    kind: ContentKind::File,
                    size: 1,
                    name: None,
                }],
            }
        }
    })
}

pub(crate) fn instance(number: u8) -> InstanceId {
    InstanceId::from_bytes([number; 16])
}

pub(crate) fn discovery(number: u8, query: PlainQuery) -> LocalDiscovery {
    let mut config = LocalConfig::new(instance(number));
    config.query_timeout = Duration::from_secs(1);
    LocalDiscovery::new(config, Arc::new(query))
}
