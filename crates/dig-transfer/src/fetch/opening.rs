//! From a hash to a content that can be fetched: description, table, sink.

use super::{
    FetchError, FetchEvent, Opened,
    driver::{Driver, Event, Phase},
    finishing::false_hash,
    flight::{First, Flight},
    members::{self, Members},
    sources::{Holds, Loss},
    stage::{Stage, Subject},
    swarm::SwarmStore,
    writing::Terms,
};
use crate::{
    chunk::{CHUNK_LEN, GROUP_CHUNKS, Run},
    header::{ContentHeader, chunks_of},
    layout::{Layout, Shape},
    link::{Ask, LinkId},
    manifest::Manifest,
    set::NumberSet,
    sink::Resumed,
    store::ContentStore,
    table::{MAX_RECORDS, MAX_TABLE_LEN, Table},
    tree::empty_root,
    wire::{Info, Message, RefusalCode, Refused, Want},
};
use bytes::Bytes;
use dig_types::ContentKind;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a link may take to say what the content is: it comes from memory, so this is for slow paths.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// The most chunks that a folder of `size` bytes can have: each file may end in a short one.
const fn most_chunks(header: &ContentHeader) -> u64 {
    let whole = header.size / CHUNK_LEN as u64;
    chunks_of(header.table_len)
        .saturating_add(whole)
        .saturating_add(MAX_RECORDS as u64)
}

impl Driver {
    /// Asks a link for the content; the first one of all for its beginning too.
    pub(super) fn open(&mut self, id: LinkId, now: Instant) {
        let Some(source) = self.sources.get_mut(id) else {
            return;
        };
        source.since = now;
        let link = source.link.clone();
        match link.ask(Message::Open(self.hash), Ask::Open, &self.answers) {
            Ok(request) => source.open = Some(request),
            Err(crate::link::RequestError::Ended(end)) => return self.lose(id, Loss::Ended(end)),
            Err(_) => {
                return self.lose(
                    id,
                    Loss::Refused(Refused::new(
                        RefusalCode::Busy,
                        "too many contents are open",
                    )),
                );
            }
        }
        let first = matches!(self.phase, Phase::Describing) && self.flights.first.is_none();
        if !first || self.header.is_some() {
            return;
        }
        self.ask_manifest(id, now);
        if !self.config.eager {
            return;
        }
        let run = Run {
            first: 0,
            count: GROUP_CHUNKS as u8,
        };
        let (message, ask) = (
            Message::Get {
                hash: self.hash,
                run,
                want: Want::RootPath,
            },
            Ask::Chunks {
                count: run.count,
                entries: true,
            },
        );
        if let Ok(request) = link.ask(message, ask, &self.answers) {
            let flight = Flight {
                run,
                want: Want::RootPath,
                scheduled: None,
                next: 0,
                unproved: None,
            };
            self.flights.insert(id, request, flight);
            self.flights.first = Some(First {
                link: id,
                request,
                last: now,
            });
            self.flights.expected = run.chunks();
        }
    }

    /// Looks after links that were asked to open.
    pub(super) fn check_opens(&mut self, now: Instant) {
        let (mut again, mut silent) = (Vec::new(), Vec::new());
        for (id, source) in self.sources.iter().filter(|(_, source)| !source.is_open()) {
            match source.open {
                None if now >= source.since => again.push(id),
                Some(_) if now - source.since > OPEN_TIMEOUT => silent.push(id),
                _ => {}
            }
        }
        silent
            .into_iter()
            .for_each(|id| self.lose(id, Loss::Silent));
        again.into_iter().for_each(|id| self.open(id, now));
    }

    /// What a link says of the content.
    pub(super) fn info(&mut self, id: LinkId, info: Info) -> Result<(), FetchError> {
        let Info {
            header,
            complete,
            name,
        } = info;
        let Some(source) = self.sources.get_mut(id) else {
            return Ok(());
        };
        let node = source.node();
        if header.hash() != self.hash {
            self.ban(
                node,
                "what it says of the content does not have the content's hash",
            );
            return Ok(());
        }
        if let Some(lie) = lie_about_chunks(
            &header,
            self.header.as_ref().filter(|_| self.opened.is_some()),
        ) {
            self.ban(node, lie);
            return Ok(());
        }
        source.chunks = header.chunks;
        source.holds = match complete {
            true => Holds::All,
            false => Holds::Some(NumberSet::empty(Shape::new(header.chunks).groups())),
        };
        let now = self.now();
        if let (Some(stage), Some(source)) = (&mut self.stage, self.sources.get(id)) {
            stage.join(now, source);
        }
        if let Some(opened) = &mut self.opened {
            opened.name = opened.name.take().or(name);
        } else if self.header.is_none() {
            self.described_as(header, name)?;
        }
        self.prove_first(id);
        self.manifest_complete();
        Ok(())
    }

    /// The first right description.
    fn described_as(
        &mut self,
        header: ContentHeader,
        name: Option<dig_types::ContentName>,
    ) -> Result<(), FetchError> {
        if header.size > self.config.max_size {
            return Err(FetchError::TooLarge {
                size: header.size,
                max: self.config.max_size,
            });
        }
        if header.table_len > MAX_TABLE_LEN as u64 {
            return Err(FetchError::Malformed("its table is too long".into()));
        }
        if header.chunks == 0 && header.root != empty_root() {
            return Err(FetchError::Malformed("it is empty, but has a root".into()));
        }
        self.header = Some(header);
        self.progressed();
        let opened = Opened {
            hash: self.hash,
            kind: header.kind,
            size: header.size,
            files: 1,
            name,
            table: None,
        };
        match header.kind {
            ContentKind::File => self.open_sink(opened, Layout::file(header.size)),
            ContentKind::Folder => {
                if let Some(expected) = self.config.verify_sha256 {
                    return Err(FetchError::WrongSha256 {
                        expected,
                        found: None,
                    });
                }
                self.opened_later = Some(opened);
                let chunks = chunks_of(header.table_len);
                self.phase = Phase::Table(vec![Bytes::new(); usize::try_from(chunks).unwrap_or(0)]);
                self.start_stage(
                    Subject::Table(header.table_len),
                    NumberSet::full(chunks),
                    NumberSet::empty(chunks),
                );
                self.table_complete();
            }
        }
        Ok(())
    }

    pub(super) fn start_stage(&mut self, subject: Subject, wanted: NumberSet, done: NumberSet) {
        let mut stage = Stage::new(
            &self.config,
            subject,
            wanted,
            done,
            &self.flights.expected,
            self.max_ahead,
        );
        let now = self.now();
        self.sources
            .iter()
            .for_each(|(_, source)| stage.join(now, source));
        self.stage = Some(stage);
        for (link, chunk, bytes) in std::mem::take(&mut self.flights.held) {
            self.arrived(link, chunk, bytes);
        }
        if self.flights.first.is_none() {
            self.want_expected();
        }
    }

    /// All chunks of the table may be here.
    pub(super) fn table_complete(&mut self) {
        let Phase::Table(chunks) = &mut self.phase else {
            return;
        };
        if self.stage.as_ref().is_none_or(|stage| stage.left > 0) {
            return;
        }
        self.table_chunks = std::mem::take(chunks);
        // The next stage's scheduler numbers its requests anew.
        for (link, request) in self.flights.drop_scheduled() {
            if let Some(source) = self.sources.get(link) {
                source.link.cancel(request);
            }
        }
        (self.phase, self.stage) = (Phase::Opening, None);
        let (chunks, results) = (self.table_chunks.clone(), self.results.clone());
        tokio::task::spawn_blocking(move || {
            let table = Table::decode(&chunks.concat()).map_err(|error| error.to_string());
            let _ = results.send(Event::Table(table));
        });
    }

    /// The table is decoded.
    pub(super) fn table_read(&mut self, table: Result<Table, String>) -> Result<(), FetchError> {
        let (Some(header), Some(mut opened)) = (self.header, self.opened_later.take()) else {
            return Ok(());
        };
        let table = Arc::new(table.map_err(FetchError::Malformed)?);
        members::check_empty(&table).map_err(|path| false_hash(&path))?;
        if table.total_size() != header.size {
            return Err(FetchError::Malformed(
                "the files of its table have another size than it says".into(),
            ));
        }
        let layout = Layout::folder(header.table_len, &table);
        self.header = Some(layout.header(header.root));
        self.entries.retain(|group, entries| {
            let chunks = layout.shape().group_chunks(*group);
            entries.len() as u64 == chunks.end - chunks.start
        });
        let open = self.sources.iter().filter(|(_, source)| source.is_open());
        let lying = open.filter(|(_, source)| source.chunks != layout.chunks());
        let liars: Vec<_> = lying.map(|(_, source)| source.node()).collect();
        opened.files = table
            .entries()
            .iter()
            .filter(|entry| !entry.directory)
            .count() as u64;
        opened.table = Some(table);
        self.open_sink(opened, layout);
        for node in liars {
            self.ban(node, WRONG_COUNT);
        }
        self.manifest_complete();
        Ok(())
    }

    fn open_sink(&mut self, opened: Opened, layout: Layout) {
        let layout = Arc::new(layout);
        self.opened = Some(opened.clone());
        self.emit(FetchEvent::Opened(opened.clone()));
        self.layout = Some(layout.clone());
        self.phase = Phase::Opening;
        let (Some(make), Some(header), false) = (
            self.make_sink.take(),
            self.header,
            self.config.describe_only,
        ) else {
            return;
        };
        self.writing.open(make, opened, header, layout);
    }

    /// The sink has said what it has.
    pub(super) fn sink_open(&mut self, resumed: Resumed, terms: Terms) {
        let (Some(layout), Some(header)) = (self.layout.clone(), self.header) else {
            return;
        };
        let wanted = terms.wanted.unwrap_or_else(|| self.selected(&layout));
        self.reader = terms.reader;
        // What was there before may change at any time; it is read for its SHA-256 alone.
        if !resumed.complete {
            self.serve(&header, &layout);
        }
        if let Some(manifest) = resumed
            .manifest
            .and_then(|nodes| Manifest::from_nodes(&header, nodes).ok())
        {
            self.manifest_here(manifest, false);
        }
        let done = if resumed.complete {
            wanted.clone()
        } else {
            resumed.chunks
        };
        if let Some(swarm) = &self.swarm {
            done.iter()
                .for_each(|chunk| swarm.written(chunk..chunk + 1));
        }
        self.max_ahead = terms.window;
        self.phase = Phase::Fetching;
        let left = done.clone();
        self.start_stage(Subject::Content(layout.clone()), wanted, done);
        if let Some(stage) = &self.stage {
            (self.total, self.resumed) = (stage.bytes(), stage.bytes_done());
        }
        if self.resumed > 0 {
            self.emit(FetchEvent::Resumed {
                bytes: self.resumed,
            });
        }
        if resumed.complete {
            return self.check_complete();
        }
        let table = self.opened.as_ref().and_then(|opened| opened.table.clone());
        self.members = table.map(|table| Members::new(layout, table, left));
        for (chunk, bytes) in (0..).zip(self.table_chunks.clone()) {
            self.verified(chunk, bytes, None);
        }
        self.check_manifest(Instant::now());
        self.check_complete();
    }

    fn selected(&self, layout: &Layout) -> NumberSet {
        let table = self
            .opened
            .as_ref()
            .and_then(|opened| opened.table.as_ref());
        let (Some(select), Some(table)) = (&self.config.select, table) else {
            return NumberSet::full(layout.chunks());
        };
        let mut wanted = NumberSet::empty(layout.chunks());
        layout.table_chunks().for_each(|chunk| {
            wanted.insert(chunk);
        });
        for (file, entry) in table.entries().iter().enumerate() {
            if select(&entry.path) {
                layout.file_chunks(file).for_each(|chunk| {
                    wanted.insert(chunk);
                });
            }
        }
        wanted
    }

    fn serve(&mut self, header: &ContentHeader, layout: &Layout) {
        let Some(reader) = self.reader.clone() else {
            return;
        };
        let name = self.opened.as_ref().and_then(|opened| opened.name.as_ref());
        let name = name.map(ToString::to_string).unwrap_or_default();
        let swarm = Arc::new(SwarmStore::new(
            *header,
            layout,
            name,
            reader,
            self.table_chunks.clone(),
        ));
        if let Some(manifest) = self.manifest.here() {
            swarm.set_manifest(manifest.clone());
        }
        self.store
            .send_replace(Some(swarm.clone() as Arc<dyn ContentStore>));
        self.swarm = Some(swarm);
    }
}

const WRONG_COUNT: &str = "it says another number of chunks than the content has";

/// What is false about the number of chunks, given the header if the count in it is known to be right.
fn lie_about_chunks(said: &ContentHeader, known: Option<&ContentHeader>) -> Option<&'static str> {
    let table = chunks_of(said.table_len);
    let possible = match said.kind {
        ContentKind::File => said.table_len == 0 && said.chunks == chunks_of(said.size),
        ContentKind::Folder => (table..=most_chunks(said)).contains(&said.chunks),
    };
    let right = known.is_none_or(|known| known.chunks == said.chunks);
    (!possible || !right).then_some(WRONG_COUNT)
}
