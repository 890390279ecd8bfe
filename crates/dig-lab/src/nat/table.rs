//! The tables of a translator: mappings, their sessions, and what the router's own stack remembers.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::session::Session;
use super::{Behaviour, Now};
use crate::packet::Protocol;

/// Names a mapping; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MappingId(u64);

/// Which remotes share a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Any,
    Address(IpAddr),
    End(SocketAddr),
}

impl Scope {
    pub(super) fn of(mapping: Behaviour, remote: SocketAddr) -> Self {
        match mapping {
            Behaviour::Independent => Self::Any,
            Behaviour::AddressDependent => Self::Address(remote.ip()),
            Behaviour::AddressAndPortDependent => Self::End(remote),
        }
    }
}

/// An inside end and the outside end that stands for it.
#[derive(Debug)]
pub(super) struct Mapping {
    protocol: Protocol,
    pub(super) internal: SocketAddr,
    pub(super) external: SocketAddr,
    scope: Scope,
    pinned: bool,
    /// By remote end.
    pub(super) sessions: BTreeMap<SocketAddr, Session>,
}

impl Mapping {
    /// Whether a remote without a session may begin one.
    pub(super) fn lets_in(&self, filtering: Behaviour, remote: SocketAddr) -> bool {
        match filtering {
            _ if self.pinned => true,
            Behaviour::Independent => true,
            Behaviour::AddressDependent => {
                let (first, last) = (
                    SocketAddr::new(remote.ip(), 0),
                    SocketAddr::new(remote.ip(), u16::MAX),
                );
                self.sessions.range(first..=last).next().is_some()
            }
            Behaviour::AddressAndPortDependent => self.sessions.contains_key(&remote),
        }
    }
}

/// Everything that a translator remembers.
#[derive(Debug)]
pub(super) struct Table {
    mappings: BTreeMap<MappingId, Mapping>,
    /// Oldest first.
    scopes: HashMap<(Protocol, SocketAddr, Scope), Vec<MappingId>>,
    externals: HashMap<(Protocol, SocketAddr), MappingId>,
    sessions: HashMap<(Protocol, SocketAddr, SocketAddr), MappingId>,
    /// By outside end and remote end.
    poisons: HashMap<(Protocol, SocketAddr, SocketAddr), Now>,
    hosts: HashMap<IpAddr, usize>,
    made: u64,
    /// Nothing ends before this.
    next_end: Now,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            mappings: BTreeMap::new(),
            scopes: HashMap::new(),
            externals: HashMap::new(),
            sessions: HashMap::new(),
            poisons: HashMap::new(),
            hosts: HashMap::new(),
            made: 0,
            next_end: Now::MAX,
        }
    }
}

impl Table {
    pub(super) fn mapping(&self, id: MappingId) -> Option<&Mapping> {
        self.mappings.get(&id)
    }

    /// The mapping of an outside end.
    pub(super) fn at(&self, protocol: Protocol, external: SocketAddr) -> Option<MappingId> {
        self.externals.get(&(protocol, external)).copied()
    }

    /// The mapping that new sessions of an inside end use: the newest one, as on Linux, where a mapping that had to
    /// move takes the later sessions with it.
    pub(super) fn scoped(
        &self,
        protocol: Protocol,
        internal: SocketAddr,
        scope: Scope,
    ) -> Option<MappingId> {
        let newest = |scope| {
            self.scopes
                .get(&(protocol, internal, scope))?
                .last()
                .copied()
        };
        newest(scope).or_else(|| newest(Scope::Any))
    }

    /// The mapping that carries a session.
    pub(super) fn session(
        &self,
        protocol: Protocol,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Option<MappingId> {
        self.sessions.get(&(protocol, internal, remote)).copied()
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many inside hosts came before this one.
    pub(super) fn host_number(&mut self, host: IpAddr) -> usize {
        let next = self.hosts.len();
        *self.hosts.entry(host).or_insert(next)
    }

    /// How many mappings came before the next one.
    pub(super) fn mapping_number(&self) -> usize {
        usize::try_from(self.made).unwrap_or(usize::MAX)
    }

    /// A new mapping.
    pub(super) fn insert(
        &mut self,
        protocol: Protocol,
        internal: SocketAddr,
        external: SocketAddr,
        scope: Scope,
    ) -> MappingId {
        let id = MappingId(self.made);
        self.made += 1;
        self.scopes
            .entry((protocol, internal, scope))
            .or_default()
            .push(id);
        self.externals.insert((protocol, external), id);
        let sessions = BTreeMap::new();
        let mapping = Mapping {
            protocol,
            internal,
            external,
            scope,
            pinned: false,
            sessions,
        };
        self.mappings.insert(id, mapping);
        id
    }

    /// Lets `see` change the session of a mapping with a remote, which begins if there is none.
    pub(super) fn touch(
        &mut self,
        now: Now,
        id: MappingId,
        remote: SocketAddr,
        see: impl FnOnce(&mut Session),
    ) {
        let Some(mapping) = self.mappings.get_mut(&id) else {
            return;
        };
        // A session that nothing refreshes does not outlive the others of its mapping.
        if !mapping.sessions.contains_key(&remote) {
            let end = mapping
                .sessions
                .values()
                .map(|session| session.expires)
                .max()
                .unwrap_or(now);
            mapping.sessions.insert(remote, Session::new(end));
        }
        let Some(session) = mapping.sessions.get_mut(&remote) else {
            return;
        };
        see(session);
        self.next_end = self.next_end.min(session.expires);
        self.sessions
            .insert((mapping.protocol, mapping.internal, remote), id);
    }

    pub(super) fn pin(
        &mut self,
        protocol: Protocol,
        external: SocketAddr,
        internal: SocketAddr,
    ) -> bool {
        if self.at(protocol, external).is_some() {
            return false;
        }
        let id = self.insert(protocol, internal, external, Scope::Any);
        if let Some(mapping) = self.mappings.get_mut(&id) {
            mapping.pinned = true;
        }
        true
    }

    pub(super) fn unpin(&mut self, protocol: Protocol, external: SocketAddr) -> bool {
        match self.at(protocol, external) {
            Some(id) if self.mappings.get(&id).is_some_and(|mapping| mapping.pinned) => {
                self.remove(id);
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, id: MappingId) {
        let Some(mapping) = self.mappings.remove(&id) else {
            return;
        };
        self.externals.remove(&(mapping.protocol, mapping.external));
        let key = (mapping.protocol, mapping.internal, mapping.scope);
        if let Some(scoped) = self.scopes.get_mut(&key) {
            scoped.retain(|other| *other != id);
            if scoped.is_empty() {
                self.scopes.remove(&key);
            }
        }
        for remote in mapping.sessions.keys() {
            self.sessions
                .remove(&(mapping.protocol, mapping.internal, *remote));
        }
    }

    /// Whether the router's own stack holds this pair of ends.
    pub(super) fn poisoned(
        &self,
        protocol: Protocol,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> bool {
        self.poisons.contains_key(&(protocol, external, remote))
    }

    pub(super) fn poison(
        &mut self,
        protocol: Protocol,
        external: SocketAddr,
        remote: SocketAddr,
        until: Now,
    ) {
        self.poisons.insert((protocol, external, remote), until);
        self.next_end = self.next_end.min(until);
    }

    pub(super) fn poisons(&self) -> usize {
        self.poisons.len()
    }

    /// Ends what has run out by `now`.
    pub(super) fn expire(&mut self, now: Now) {
        if now < self.next_end {
            return;
        }
        self.poisons.retain(|_, until| *until > now);
        let mut next_end = self.poisons.values().min().copied().unwrap_or(Now::MAX);
        let mut ended = Vec::new();
        for (id, mapping) in &mut self.mappings {
            let key = (mapping.protocol, mapping.internal);
            mapping.sessions.retain(|remote, session| {
                let alive = session.expires > now;
                if !alive {
                    self.sessions.remove(&(key.0, key.1, *remote));
                }
                alive
            });
            match mapping
                .sessions
                .values()
                .map(|session| session.expires)
                .min()
            {
                Some(end) => next_end = next_end.min(end),
                None if mapping.pinned => {}
                None => ended.push(*id),
            }
        }
        for id in ended {
            self.remove(id);
        }
        self.next_end = next_end;
    }

    /// Ends everything but pinned mappings.
    pub(super) fn flush(&mut self) {
        self.expire(Now::MAX);
        self.hosts.clear();
    }
}
