//! A relay that does what a test says.

use crate::{
    client::RelayUrl,
    frame::frames_in,
    graph::Node,
    message::{Body, Dam, Message, MessageId, WireLimits},
};
use futures::{SinkExt, StreamExt};
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite};

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(super) fn url(&self) -> RelayUrl {
        format!("http://{}/gun", self.address).parse().unwrap()
    }

    pub(super) async fn stream(&mut self) -> TcpStream {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        accepted.expect("nobody dials").unwrap().0
    }

    /// The next client that comes.
    pub(super) async fn accept(&mut self) -> Relay {
        let socket = accept_async(self.stream().await).await.unwrap();
        Relay {
            socket,
            waiting: VecDeque::new(),
            ids: 0,
        }
    }

    /// Gives the next client an answer that is no WebSocket's.
    pub(super) async fn accept_http(&mut self, answer: &str) {
        let mut stream = self.stream().await;
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

/// The relay's side of a connection.
pub(super) struct Relay {
    socket: WebSocketStream<TcpStream>,
    waiting: VecDeque<Message>,
    ids: u64,
}

impl Relay {
    /// The next message of the client.
    pub(super) async fn recv(&mut self) -> Message {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return message;
            }
            let frame = timeout(PATIENCE, self.socket.next()).await;
            let frame = frame.expect("the client says nothing").unwrap().unwrap();
            if let tungstenite::Message::Text(text) = frame {
                let texts = frames_in(&text);
                let messages =
                    texts.map(|text| Message::parse(&text.unwrap(), &WireLimits::default()));
                self.waiting.extend(messages.map(Result::unwrap));
            }
        }
    }

    pub(super) async fn hello(&mut self) {
        assert_eq!(self.recv().await.body, Body::Dam(Dam::Hi));
    }

    /// Reads until the client ends the connection; whether it says goodbye.
    pub(super) async fn ended(&mut self) -> bool {
        loop {
            match self.socket.next().await {
                Some(Ok(tungstenite::Message::Close(_))) => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
    }

    pub(super) async fn text(&mut self, text: &str) {
        // A client that has gone is for the test to notice.
        let _ = self.socket.send(tungstenite::Message::text(text)).await;
    }

    pub(super) async fn binary(&mut self) {
        let frame = tungstenite::Message::binary(&b"{}"[..]);
        self.socket.send(frame).await.unwrap();
    }

    fn id(&mut self) -> MessageId {
        self.ids += 1;
        MessageId::new(&format!("r{:08}", self.ids)).unwrap()
    }

    pub(super) async fn ack(&mut self, put: &Message) {
        let ack = Message::stored(self.id(), put.id.clone().unwrap());
        self.text(&ack.to_text()).await;
    }

    pub(super) async fn answer(&mut self, get: &Message, nodes: Vec<Node>) {
        let answer = Message::answer(self.id(), get.id.clone().unwrap(), nodes);
        self.text(&answer.to_text()).await;
    }

    pub(super) async fn push(&mut self, nodes: Vec<Node>) {
        let put = Message::put(self.id(), nodes);
        self.text(&put.to_text()).await;
    }
}
