//! The netfilter rules of a router.
//!
//! What the kernel does by itself is half of the behaviour: `masquerade` keeps a port that is free and filters by address and port;
//! `masquerade fully-random` draws a new port for every remote end. The other kinds are made of two tables that outgoing packets
//! fill *after* translation, when the outside port is known: `cone` (outside port to inside end) and `contacted` (outside port and
//! remote address). Packets of whom they know are sent on; all others end at the router itself.

use crate::{address::Network, nat::Habit};
use std::net::Ipv4Addr;

/// How a router translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Translation {
    /// Not at all, and it filters nothing either.
    None,
    /// Not at all, but only connections from inside come back in.
    Firewall,
    /// Not here: a user-space NAT has IPv4. [`Self::Firewall`] for IPv6.
    Elsewhere,
    /// `masquerade`.
    PortRestricted,
    /// `masquerade`, and whoever was sent to may answer from any port.
    AddressRestricted,
    /// `masquerade`, and anybody may answer.
    FullCone,
    /// `masquerade fully-random`.
    SymmetricRandom,
}

/// What may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Egress {
    /// Everything.
    All,
    /// Everything but UDP.
    NoUdp,
    /// TCP to ports 80 and 443.
    Web,
}

/// What a router does with packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// How it translates IPv4; whatever is not [`Translation::None`] has a stateful firewall for IPv6.
    pub(crate) translation: Translation,
    /// What it does with what nobody asked for.
    pub(crate) habit: Habit,
    /// Whether machines behind it reach each other through its outside address.
    pub(crate) hairpin: bool,
    /// What may leave.
    pub(crate) egress: Egress,
    /// Whether the chains for miniupnpd exist.
    pub(crate) mappable: bool,
    /// The network behind it.
    pub(crate) lan: Network,
    /// Its outside address.
    pub(crate) public: Option<Ipv4Addr>,
}

impl Rules {
    /// Input of `nft -f -`; empty where nothing is translated or filtered.
    pub(crate) fn nft(&self) -> String {
        let ipv4_alone = self.translation == Translation::Elsewhere && self.lan.v6.is_none();
        if ipv4_alone || self.translation == Translation::None {
            return String::new();
        }
        let sections = [self.tables(), self.input(), self.forward(), self.nat()];
        format!("table inet filter {{\n{}}}\n", sections.concat())
    }

    /// Whether it has to know where outside ports lead: for strangers, or for its own machines.
    fn learns(&self) -> bool {
        match self.translation {
            Translation::None | Translation::Firewall | Translation::Elsewhere => false,
            Translation::PortRestricted | Translation::SymmetricRandom => self.hairpin,
            Translation::AddressRestricted | Translation::FullCone => true,
        }
    }

    /// The tables, and the chain that fills them. Its priority comes after that of source translation.
    fn tables(&self) -> String {
        let mut text = String::new();
        if self.mappable {
            text.push_str("chain miniupnpd {}\nchain prerouting_miniupnpd {}\nchain postrouting_miniupnpd {}\n");
        }
        let (true, Some(lan)) = (self.learns(), self.lan.v4_prefix()) else {
            return text;
        };
        text.push_str(
            "map cone {\n type inet_proto . inet_service : ipv4_addr . inet_service\n flags dynamic,timeout\n timeout 300s\n size 65536\n}\n\
             set contacted {\n type inet_proto . inet_service . ipv4_addr\n flags dynamic,timeout\n timeout 300s\n size 65536\n}\n\
             chain learn {\n type filter hook postrouting priority 150; policy accept;\n",
        );
        // The first packet of a connection from inside names the inside end as its source; where the connection began outside, it
        // is the source of the answers.
        for (direction, outside, inside) in [
            (
                "original",
                "ct reply proto-dst",
                "ct original ip saddr . ct original proto-src",
            ),
            (
                "reply",
                "ct original proto-dst",
                "ct reply ip saddr . ct reply proto-src",
            ),
        ] {
            let ours = format!(
                "ct direction {direction} ct {direction} ip saddr {lan} meta l4proto {{ tcp, udp }}"
            );
            text.push_str(&format!(
                " {ours} update @cone {{ meta l4proto . {outside} : {inside} }}\n\
                 \x20{ours} update @contacted {{ meta l4proto . {outside} . ip daddr }}\n"
            ));
        }
        text.push_str("}\n");
        text
    }

    /// Packets to the router itself. What [`Habit::Reject`] accepts here finds no socket, so that the kernel answers it, and
    /// the connection table remembers it: an nft `reject` would answer without remembering, and no router that is known for
    /// spoiling hole punching does that.
    fn input(&self) -> String {
        let mut text =
            "chain input {\n type filter hook input priority 0; policy accept;\n".to_owned();
        if self.habit == Habit::Drop {
            text.push_str(" ct state established,related accept\n meta l4proto { icmp, ipv6-icmp } accept\n iifname \"wan0\" drop\n");
            if let Some(public) = self.public {
                text.push_str(&format!(
                    " ip daddr {public} meta l4proto {{ tcp, udp }} drop\n"
                ));
            }
        }
        text.push_str("}\n");
        text
    }

    fn forward(&self) -> String {
        let mut text = "chain forward {\n type filter hook forward priority 0; policy drop;\n \
                        ct state established,related accept\n"
            .to_owned();
        if self.translation == Translation::Elsewhere {
            text.push_str(" meta nfproto ipv4 accept\n");
        }
        let out = "iifname \"lan0\" oifname \"wan0\"";
        match self.egress {
            Egress::All => text.push_str(&format!(" {out} accept\n")),
            Egress::NoUdp => text.push_str(&format!(" {out} meta l4proto != udp accept\n")),
            Egress::Web => text.push_str(&format!(" {out} tcp dport {{ 80, 443 }} accept\n")),
        }
        if self.learns() {
            text.push_str(" ct status dnat accept\n");
        }
        if self.mappable {
            text.push_str(" jump miniupnpd\n");
        }
        if self.habit == Habit::Reject {
            text.push_str(
                " meta l4proto tcp reject with tcp reset\n reject with icmpx admin-prohibited\n",
            );
        }
        text.push_str("}\n");
        text
    }

    fn nat(&self) -> String {
        let masquerade = match self.translation {
            Translation::None | Translation::Firewall | Translation::Elsewhere => {
                return String::new();
            }
            Translation::SymmetricRandom => "masquerade fully-random",
            Translation::PortRestricted
            | Translation::AddressRestricted
            | Translation::FullCone => "masquerade",
        };
        let mut before =
            "chain prerouting {\n type nat hook prerouting priority -100; policy accept;\n"
                .to_owned();
        let mut after =
            "chain postrouting {\n type nat hook postrouting priority 100; policy accept;\n"
                .to_owned();
        if self.mappable {
            before.push_str(" jump prerouting_miniupnpd\n");
            after.push_str(" jump postrouting_miniupnpd\n");
        }
        let inwards = "dnat ip to meta l4proto . th dport map @cone";
        match self.translation {
            Translation::FullCone => before.push_str(&format!(
                " iifname \"wan0\" meta l4proto {{ tcp, udp }} {inwards}\n"
            )),
            Translation::AddressRestricted => {
                before.push_str(&format!(
                    " iifname \"wan0\" meta l4proto . th dport . ip saddr @contacted {inwards}\n"
                ));
            }
            _ => {}
        }
        if let (true, Some(public), Some(lan)) = (self.hairpin, self.public, self.lan.v4_prefix()) {
            before.push_str(&format!(
                " iifname \"lan0\" ip daddr {public} meta l4proto {{ tcp, udp }} {inwards}\n"
            ));
            // RFC 4787 REQ-9: the receiver sees the outside address of the sender.
            after.push_str(&format!(
                " ip saddr {lan} oifname \"lan0\" ct status dnat snat ip to {public}\n"
            ));
        }
        after.push_str(&format!(
            " oifname \"wan0\" meta nfproto ipv4 {masquerade}\n"
        ));
        format!("{before}}}\n{after}}}\n")
    }
}
