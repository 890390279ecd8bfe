//! All carriers of signals as one: rendezvous peers, and Gun relays.

use super::signaling::GunSignaling;
use bytes::Bytes;
use dig_nat::{
    rendezvous::RendezvousSignaling,
    signaling::{Signal, SignalError, Signaling},
};
use dig_types::NodeId;
use futures::{
    FutureExt as _,
    future::{self, BoxFuture, Either},
};
use std::{sync::Arc, time::Duration};

/// How long a rendezvous peer has before a message goes over Gun too. It answers in a round trip; what it hands on is better, since it tells the
/// peer where the message came from, and a second copy of a message is not looked at.
const HEAD_START: Duration = Duration::from_millis(300);

/// Rendezvous peers first, then Gun.
#[derive(Debug)]
pub(crate) struct Carriers {
    rendezvous: Arc<RendezvousSignaling>,
    gun: GunSignaling,
}

impl Carriers {
    pub(crate) const fn new(rendezvous: Arc<RendezvousSignaling>, gun: GunSignaling) -> Self {
        Self { rendezvous, gun }
    }
}

impl Signaling for Carriers {
    fn send(&self, to: NodeId, message: Bytes) -> BoxFuture<'_, Result<(), SignalError>> {
        // It is on the lanes now, not when the future is first polled.
        let introduced = self.rendezvous.send(to, message.clone());
        async move {
            let mut introduced = introduced;
            let early = tokio::time::timeout(HEAD_START, &mut introduced).await;
            match early {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => self
                    .gun
                    .send(to, message)
                    .await
                    .map_err(|gun| worse(error, gun)),
                Err(_) => match self.gun.send(to, message).await {
                    Ok(()) => Ok(()),
                    Err(gun) => introduced.await.map_err(|error| worse(error, gun)),
                },
            }
        }
        .boxed()
    }

    fn receive(&self) -> BoxFuture<'_, Option<Signal>> {
        async {
            match future::select(self.rendezvous.receive(), self.gun.receive()).await {
                Either::Left((Some(signal), _)) | Either::Right((Some(signal), _)) => Some(signal),
                Either::Left((None, gun)) => gun.await,
                Either::Right((None, rendezvous)) => rendezvous.await,
            }
        }
        .boxed()
    }

    fn prekey(&self, of: NodeId) -> BoxFuture<'_, Result<Bytes, SignalError>> {
        let found = self.rendezvous.prekey(of);
        async move {
            match future::select(found, self.gun.prekey(of)).await {
                Either::Left((Ok(prekey), _)) | Either::Right((Ok(prekey), _)) => Ok(prekey),
                Either::Left((Err(error), gun)) => gun.await.map_err(|gun| worse(error, gun)),
                Either::Right((Err(gun), rendezvous)) => {
                    rendezvous.await.map_err(|error| worse(error, gun))
                }
            }
        }
        .boxed()
    }
}

/// Of two reasons the one that says more: a carrier that does not know the peer, before one that is not there.
fn worse(rendezvous: SignalError, gun: SignalError) -> SignalError {
    match (&rendezvous, &gun) {
        (SignalError::NoCarrier, _) => gun,
        _ => rendezvous,
    }
}

#[cfg(test)]
mod tests;
