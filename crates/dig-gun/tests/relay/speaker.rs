//! A peer that says what it is told to, right or wrong.

use dig_gun::{
    frame::frames_in,
    message::{Body, Dam, Message, WireLimits},
};
use futures::{SinkExt, StreamExt};
use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_with_config,
    tungstenite::{Message as Frame, protocol::WebSocketConfig},
};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Speaker {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard: VecDeque<Message>,
    /// What was heard and not waited for.
    passed: Vec<Message>,
    serial: u64,
}

/// No bounds of its own, as it is the relay's that are tested.
fn limits() -> WireLimits {
    WireLimits {
        max_text: usize::MAX,
        max_nodes: usize::MAX,
        max_fields: usize::MAX,
    }
}

impl Speaker {
    pub(crate) async fn connect(url: &str) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, url).await
    }

    /// Connects from another address of this host, which is another origin to the relay.
    pub(crate) async fn connect_from(address: Ipv4Addr, url: &str) -> Self {
        let mut config = WebSocketConfig::default().read_buffer_size(16 << 10);
        config.max_message_size = None;
        config.max_frame_size = None;
        let to = url
            .strip_prefix("ws://")
            .and_then(|rest| rest.strip_suffix("/gun"))
            .unwrap();
        let connect = async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((address, 0).into()).unwrap();
            let stream = socket.connect(to.parse().unwrap()).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stream = MaybeTlsStream::Plain(stream);
            client_async_with_config(url, stream, Some(config))
                .await
                .unwrap()
                .0
        };
        let socket = timeout(PATIENCE, connect)
            .await
            .expect("no connection in time");
        let mut speaker = Self::over(socket);
        let hello = speaker.next().await.unwrap();
        assert!(
            matches!(hello.body, Body::Dam(Dam::AskPid(Some(_)))),
            "{hello:?}"
        );
        speaker
    }

    const fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self {
            socket,
            heard: VecDeque::new(),
            passed: Vec::new(),
            serial: 0,
        }
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        self.socket.send(Frame::text(text.into())).await.unwrap();
    }

    /// The next message; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return Some(message);
            }
            let frame = timeout(PATIENCE, self.socket.next())
                .await
                .expect("nothing is heard");
            match frame {
                Some(Ok(Frame::Text(text))) => self.read(text.as_str()),
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    fn read(&mut self, text: &str) {
        for element in frames_in(text) {
            let message = Message::parse(&element.unwrap(), &limits()).unwrap();
            self.heard.push_back(message);
        }
    }

    /// The next message that is meant, those before it are passed over.
    pub(crate) async fn until(&mut self, mut meant: impl FnMut(&Message) -> bool) -> Message {
        loop {
            let message = self.next().await.expect("the connection ended");
            if meant(&message) {
                return message;
            }
            self.passed.push(message);
        }
    }

    /// The answer to a message of that name.
    pub(crate) async fn answer(&mut self, id: &str) -> Message {
        self.until(|message| message.answers.as_ref().is_some_and(|to| to.as_str() == id))
            .await
    }

    fn name(&mut self) -> String {
        self.serial += 1;
        format!("speak{:06}", self.serial)
    }

    /// Writes a field; how long until it is acknowledged, and why not.
    pub(crate) async fn put(
        &mut self,
        soul: &str,
        key: &str,
        value: &str,
        state: f64,
    ) -> (Duration, Result<(), String>) {
        let id = self.name();
        let start = Instant::now();
        self.say(put(&id, soul, key, value, state)).await;
        let result = match self.answer(&id).await.body {
            Body::Ack { ok: true, .. } => Ok(()),
            Body::Ack { error, .. } => Err(error.as_deref().unwrap_or_default().to_owned()),
            other => panic!("{other:?}"),
        };
        (start.elapsed(), result)
    }

    /// Asks for a node; how long until it is answered, and with which fields.
    pub(crate) async fn get(&mut self, soul: &str) -> (Duration, Vec<String>) {
        let id = self.name();
        let start = Instant::now();
        self.say(format!(r##"{{"#":"{id}","get":{{"#":"{soul}"}}}}"##))
            .await;
        let mut fields = Vec::new();
        loop {
            let answer = self.answer(&id).await;
            if let Body::Put(nodes) = answer.body {
                fields.extend(nodes.iter().flat_map(|node| node.fields.iter()).map(
                    |(key, field)| {
                        let mut value = String::new();
                        dig_gun::text::write_value(&mut value, &field.value);
                        format!("{key}={value}")
                    },
                ));
            }
            if !answer.more {
                return (start.elapsed(), fields);
            }
        }
    }

    /// Waits for a change of a field.
    pub(crate) async fn change(&mut self, soul: &str, key: &str) -> Message {
        self.until(|message| match &message.body {
            Body::Put(nodes) => nodes.iter().any(|node| {
                node.soul.as_str() == soul && node.fields.keys().any(|other| other.as_str() == key)
            }),
            _ => false,
        })
        .await
    }
}

/// The text of a put of one field.
pub(crate) fn put(id: &str, soul: &str, key: &str, value: &str, state: f64) -> String {
    format!(
        r##"{{"#":"{id}","put":{{"{soul}":{{"_":{{"#":"{soul}",">":{{"{key}":{state}}}}},"{key}":{value}}}}}}}"##
    )
}
